"""The wheels of both distributions, installed into virtual environments of their own without a package index."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.support import ROOT


def build_wheels(folder: Path) -> dict[str, Path]:
    """Build the wheels of the client and of the service; gives them by the distribution's name."""
    for project in (ROOT / "client", ROOT):
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
        subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=60)
    return {path.name.partition("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}


class Installation:
    """A virtual environment with some of the wheels and what their metadata require, and nothing else.

    The project's own code comes from the wheels. What they require is linked from the environment that runs the tests,
    distribution by distribution, as the metadata of the wheels name it: that takes no package index and a second
    instead of a minute, and a requirement that is missing from the metadata is missing here.
    """

    def __init__(self, folder: Path, wheels: list[Path], *requirements: str) -> None:
        venv.create(folder, with_pip=False)
        self._bin = folder / "bin"
        (self._site,) = folder.glob("lib/python*/site-packages")
        pip = [sys.executable, "-m", "pip", "--python", str(self._bin / "python"), "--disable-pip-version-check"]
        install = ["install", "--quiet", "--no-index", "--no-deps", *map(str, wheels)]
        subprocess.run([*pip, *install], check=True, capture_output=True, timeout=60)
        self._own = {found.name: found for found in metadata.distributions(path=[str(self._site)])}
        self._seen: set[tuple[str, str]] = set()
        for requirement in requirements:
            self._require(Requirement(requirement))

    def run(self, *command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the installation to its end, outside the checkout."""
        return subprocess.run(
            self.command(*command),
            env=self.environment(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def command(self, program: str | Path, *arguments: str | Path) -> list[str]:
        """The command line of a program of the installation."""
        return [str(self._bin / program), *map(str, arguments)]

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        """Environment variables that show nothing of the environment that runs the tests."""
        hidden = ("CORSPOLICY_", "PYTHON", "VIRTUAL_ENV")
        return {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | variables

    def _require(self, requirement: Requirement) -> None:
        for extra in ("", *requirement.extras):
            if (requirement.name, extra) in self._seen:
                continue
            self._seen.add((requirement.name, extra))
            distribution = self._own.get(requirement.name) or self._linked(requirement.name)
            for needed in map(Requirement, distribution.requires or ()):
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    self._require(needed)

    def _linked(self, name: str) -> metadata.Distribution:
        distribution = metadata.distribution(name)
        for top in set(_top_levels(distribution)):
            link = self._site / top
            if not link.exists():
                link.symlink_to(str(distribution.locate_file(top)))
        return distribution


def _top_levels(distribution: metadata.Distribution) -> Iterator[str]:
    for file in distribution.files or ():
        if file.parts[0] not in ("..", "__pycache__"):
            yield file.parts[0]
