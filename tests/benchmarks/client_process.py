"""A client process, as the benchmark that started it sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

from tests.support import ROOT


class ClientProcess:
    """Runs one of the functions of `clients.py` in a process of its own, until the stack ends."""

    def __init__(self, stack: ExitStack, kind: str, url: str, argument: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.clients", kind, url, argument]
        self._process = stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self._process.kill)

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the client process ended"
        return line

    def values(self) -> Any:
        """The next line that it prints, which is JSON."""
        return json.loads(self.line())

    def tell(self, values: Any) -> None:
        """Send it a line of JSON."""
        print(json.dumps(values), file=self._process.stdin, flush=True)


def started(stack: ExitStack, count: int, kind: str, url: str, argument: str) -> list[ClientProcess]:
    """So many client processes, all of them ready."""
    processes = [ClientProcess(stack, kind, url, argument) for _ in range(count)]
    assert {process.line() for process in processes} == {"ready"}
    return processes
