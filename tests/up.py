"""`corspolicy up` as a user starts it: the installed command, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil

from policy_service.local import embedded
from tests.support import free_port, wait_until

COMMAND = str(Path(sys.executable).with_name("corspolicy"))
NOBODY = 65534
# How many `up` takes, in a row.
PORTS = 3

# Starting everything takes seconds, and longer on a busy machine.
_START_SECONDS = 60.0
_END_SECONDS = 5.0


class Up:
    """A running, starting or ended `corspolicy up`."""

    def __init__(
        self,
        data: Path,
        *options: str,
        port: int | None = None,
        environment: dict[str, str] | None = None,
        user: int | None = None,
        command: tuple[str, ...] = (COMMAND,),
    ) -> None:
        self.data = data
        self.port = free_port(PORTS) if port is None else port
        # The test run's own databases are not meant.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CORSPOLICY_")}
        self._left: list[psutil.Process] = []
        self._output = data.with_name(f"{data.name}.output")
        with self._output.open("wb") as output:
            self.process = psutil.Popen(
                [*command, "up", "--port", str(self.port), "--data-dir", str(data), *options],
                env={**inherited, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )

    @property
    def url(self) -> str:
        """Where the admin API is."""
        return f"http://localhost:{self.port}"

    @property
    def output(self) -> str:
        """All that was printed until now."""
        return self._output.read_text()

    @property
    def key(self) -> str:
        """The admin key, as it was kept."""
        return (self.data / "admin.key").read_text().strip()

    def wait_for(self, text: str) -> None:
        """Return when `text` was printed; fails the test if the process ends before."""

        def is_there() -> bool:
            has_ended = self.process.poll() is not None
            if text in self.output:
                return True
            assert not has_ended, self.output
            return False

        wait_until(is_there, f"printed: {text}", _START_SECONDS)

    def wait_until_running(self) -> None:
        """Return when everything runs."""
        self.wait_for("Ctrl-C stops everything")

    def wait(self) -> int:
        """The exit code."""
        return int(self.process.wait(_START_SECONDS))

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it by a signal; returns the exit code. Fails the test if anything of it is left."""
        family = self.family()
        self.process.send_signal(number)
        code = self.wait()
        # What was killed may take a moment to end.
        wait_until(lambda: not any(map(is_alive, family)), "all that it started has ended", _END_SECONDS)
        self.assert_nothing_left()
        return code

    def assert_nothing_left(self) -> None:
        """Fails the test if a process works on the data or a port is taken."""
        # One that was started just then may take a moment to see that its parent has ended.
        wait_until(lambda: not self._mentioning(), "every process that works on the data has ended", _END_SECONDS)
        assert all(embedded.is_free(self.port + offset) for offset in range(PORTS))

    def _mentioning(self) -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(self.data) in " ".join(process.info["cmdline"] or ()) and is_alive(process)
        ]

    def family(self) -> list[psutil.Process]:
        """The process and all that it started."""
        return [self.process, *self.process.children(recursive=True)]

    def kill(self) -> list[psutil.Process]:
        """End it as a crash would; returns what it had started."""
        self._left = self.family()[1:]
        self.process.kill()
        self.process.wait()
        return self._left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running, whatever the test did."""
        family = self._left
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [*family, *self.family()]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still does anything."""
    # What its parent has not asked about yet is a zombie, and does nothing any more.
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
