"""A database, a Redis, the policy service and services that apply policies, all in processes of their own."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests import servers
from tests.conftest import admin_key
from tests.support import Api, Process, free_port, may_read, running, wait_until

ORIGIN = "https://app.example.com"


class Line:
    """A database, a Redis, the policy service and two services that apply policies, all in their own processes."""

    def __init__(self, stack: ExitStack, database_url: str, folder: Path) -> None:
        self._stack = stack
        self.redis_port = free_port()
        self.redis_folder = folder
        redis_url = stack.enter_context(servers.redis_at(folder, self.redis_port))
        self.environment = {
            "CORSPOLICY_DATABASE_URL": database_url,
            "CORSPOLICY_REDIS_URL": redis_url,
            "CORSPOLICY_EXPIRE_EVERY_SECONDS": "0.1",
            "TEST_TENANT_FROM": "path",
        }
        self.service = self.start("policy_service.app:create_app")
        self.clients = [self.start(f"tests.chain.apps:{name}") for name in ("billing", "orders")]
        self.key = admin_key(database_url)
        self.api = Api(self.service.url, self.key)
        stack.enter_context(self.api.http)

    def start(self, application: str) -> Process:
        return self._stack.enter_context(running(application, self.environment))

    def restart_service(self) -> None:
        self.service = self.start("policy_service.app:create_app")
        self.api = Api(self.service.url, self.key)
        self._stack.enter_context(self.api.http)

    def may_read(self, client: Process, tenant: str, origin: str = ORIGIN) -> bool:
        """Whether a browser lets a page from `origin` read what the service answers for the tenant."""
        return may_read(f"{client.url}/t/{tenant}", origin)

    def wait_until_allowed(self, tenant: str, origin: str = ORIGIN) -> None:
        """Return when every service allows `origin`."""
        self._wait(tenant, origin, allowed=True)

    def wait_until_denied(self, tenant: str, origin: str = ORIGIN) -> None:
        """Return when every service denies `origin`."""
        self._wait(tenant, origin, allowed=False)

    def _wait(self, tenant: str, origin: str, *, allowed: bool) -> None:
        for client in self.clients:
            wait_until(
                lambda client=client: self.may_read(client, tenant, origin) == allowed,  # type: ignore[misc]
                f"{client.url} {'allows' if allowed else 'denies'} {origin}",
            )

    def redis_process(self) -> int:
        found = subprocess.run(["pgrep", "-f", f"redis-server.*:{self.redis_port}"], capture_output=True, check=True)
        return int(found.stdout.split()[0])
