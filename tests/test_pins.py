"""What is installed is pinned with hashes, the same in every file, and named without saying where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ROOT

FILES = [ROOT / "constraints.txt", *sorted((ROOT / "requirements").glob("*.txt"))]


def _pins(path: Path) -> dict[str, set[str]]:
    """The hashes of each pin, such as `click==8.5.1`."""
    pins: dict[str, set[str]] = {}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        requirement, *options = line.split()
        pins[requirement] = {option for option in options if option.startswith("--hash=sha256:")}
    return pins


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_pin_has_hashes_and_names_no_host(path: Path) -> None:
    assert "://" not in path.read_text()
    for requirement, hashes in _pins(path).items():
        assert "==" in requirement
        assert hashes, requirement


@pytest.mark.parametrize("path", FILES[1:], ids=lambda path: path.name)
def test_what_runs_is_what_was_tested(path: Path) -> None:
    everything = _pins(ROOT / "constraints.txt")
    pins = _pins(path)
    if path.name == "bench.txt":
        # The benchmarks' peers are installed beside everything, and replace none of it.
        names = {requirement.partition("==")[0] for requirement in everything}
        pins = {requirement: pins[requirement] for requirement in pins if requirement.partition("==")[0] in names}
    assert pins
    for requirement, hashes in pins.items():
        assert hashes <= everything[requirement]
