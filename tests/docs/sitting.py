"""A reader who runs the commands of pages, from top to bottom, on a fresh `corspolicy up --demo`."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from policy_service.local.embedded import is_free
from tests.docs.pages import Command, commands
from tests.support import ROOT, wait_until
from tests.up import PORTS, Up

_FIRST_PORT = 8700
_TIMEOUT_SECONDS = 60.0
_SETTLE_SECONDS = 5
_PROGRAMS = ("bash", "curl", "jq")

# What differs from run to run: the pattern, and what stands in its place in both texts.
_VARIABLE = [
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in (
        (r"^\* .*\n", ""),
        (r"curl/[\d.]+", "curl"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "<date>"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
        (r"cpk_[0-9a-f]{12}_[0-9a-f]+…?", "<key>"),
        (r"\b[0-9a-f]{12}\b", "<key id>"),
        (r'"[^"\s]+-\d+-[0-9a-f]{8}"', "<process>"),
        (r'"host": ?"[^"]+"', "<host>"),
        (r'"process": ?\d+', "<pid>"),
        (r'"milliseconds": ?[\d.]+', "<milliseconds>"),
        (r"(?<=\S) {2,}", "  "),
        (r" +$", ""),
    )
]


class Step(NamedTuple):
    """A block of commands that was run, and what it printed."""

    page: str
    command: Command
    code: int
    printed: str

    @property
    def is_as_documented(self) -> bool:
        """Whether it did what the page says, apart from what differs from run to run."""
        if self.command.output is None:
            return self.code == 0
        return normalized(self.command.output) == normalized(self.printed)


def normalized(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    return text.strip()


def sit(pages: Sequence[str], folder: Path) -> Iterator[Step]:
    """Run the commands of the pages in an empty folder."""
    if missing := [program for program in _PROGRAMS if shutil.which(program) is None]:
        raise RuntimeError(f"the pages use {', '.join(missing)}: install it")
    place = folder / "place"
    place.mkdir()
    # As in a checkout in which `make run` is running.
    (place / ".venv").symlink_to(sys.prefix)
    with Up(place / ".corspolicy", "--demo", port=_free_port()) as up:
        up.wait_until_running()
        reader = _Reader(place, folder / "variables", up.port)
        with httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {up.key}"}, timeout=30) as api:
            for page in pages:
                reader.forget()
                for command in commands((ROOT / page).read_text()):
                    # A person is slower than a change on its way to the demo.
                    _settle(api)
                    yield Step(page, command, *reader.run(command))


def _free_port() -> int:
    """The first of four free ports that have as many digits as the pages' ports: tables are as wide as theirs."""

    def free() -> int:
        first = random.randrange(2_000, 9_990)
        return first if all(is_free(first + offset) for offset in range(PORTS)) else 0

    return wait_until(free, "free ports")


def _settle(api: httpx.Client) -> None:
    revision = api.get("/v1/changes", params={"limit": 1}).json()["items"][0]["revision"]
    path, parameters = f"/v1/revisions/{revision}/propagation", {"wait": _SETTLE_SECONDS}
    # Right after the start, the service may not know yet.
    wait_until(
        lambda: api.get(path, params=parameters).is_success, f"the service knows who applies revision {revision}"
    )


class _Reader:
    """A terminal: variables are kept from one block to the next."""

    def __init__(self, place: Path, variables: Path, port: int) -> None:
        self._place = place
        self._variables = variables
        self._port = port
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CORSPOLICY_") and not name.lower().endswith("_proxy")
        }
        # The command's own default is another port.
        url = f"http://127.0.0.1:{port}"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**inherited, "PATH": path, "CORSPOLICY_URL": url}

    def forget(self) -> None:
        """Open another terminal."""
        self._variables.write_text("")

    def run(self, command: Command) -> tuple[int, str]:
        """The exit code and the output, the latter in the terms of the pages."""
        variables = f'"{self._variables}"'
        # Without an output to compare, the first failure counts.
        options = "-ae" if command.output is None else "-a"
        script = f"set {options}; . {variables}\ntrap 'export -p > {variables}' EXIT\n{self._to_test(command.text)}"
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self._place,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode, self._to_page(output.decode())

    def _to_test(self, text: str) -> str:
        return re.sub(r"\b870[0-3]\b", lambda port: str(int(port[0]) - _FIRST_PORT + self._port), text)

    def _to_page(self, text: str) -> str:
        for offset in range(4):
            text = re.sub(rf"\b{self._port + offset}\b", str(_FIRST_PORT + offset), text)
        return text.replace("\r", "")


def publishable(text: str) -> str:
    """An output as a page shows it: without the name of this machine, keys in part only."""
    text = re.sub(r"(cpk_[0-9a-f]{12}_[0-9a-f]{4})[0-9a-f]{10,}", r"\1…", text)
    text = text.replace(socket.gethostname(), "web-1")
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").split("\n"))
