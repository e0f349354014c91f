"""The map in CONTRIBUTING.md names every module of both packages, and none that does not exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support import ROOT

PACKAGES = (ROOT / "client" / "src" / "corspolicy", ROOT / "policy_service")

_NAME = re.compile(r"(?<!\S)[\w/]+(?:\.py|/)(?=[\s:;,]|$)")


def test_the_map_names_every_module() -> None:
    modules = {path for package in PACKAGES for path in package.rglob("*.py") if path.name != "__init__.py"}
    assert _relative(modules - set(_named())) == []


def test_the_map_names_nothing_else() -> None:
    assert _relative(path for path in _named() if not path.exists()) == []


def test_the_map_has_the_order_of_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {contract["containers"][0]: contract["layers"] for contract in contracts if contract["type"] == "layers"}
    for package in PACKAGES:
        ranks = {name: rank for rank, layer in enumerate(layers[package.name]) for name in layer.split(" | ")}
        order = [ranks[path.stem] for path in _named() if path.parent == package]
        assert order == sorted(order), package.name


def _relative(paths: Iterable[Path]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def _named() -> Iterator[Path]:
    """The folders and modules of the map; each line names some in the folder above it with a smaller indent."""
    block = re.search(r"^## The map$.*?^```text\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
    assert block is not None
    folders: list[tuple[int, Path]] = [(-1, ROOT)]
    for line in block[1].splitlines():
        indent = len(line) - len(line.lstrip())
        while folders[-1][0] >= indent:
            folders.pop()
        names: list[str] = _NAME.findall(line)
        if names and line[indent:].startswith(names[0]) and names[0].endswith("/"):
            folders.append((indent, folders[-1][1] / names.pop(0)))
            yield folders[-1][1]
        yield from (folders[-1][1] / name for name in names)
