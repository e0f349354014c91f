"""The reference tables of the docs name everything that there is, and nothing else."""

from __future__ import annotations

import re

from corspolicy.core.policy import SETTINGS
from policy_service.app import create_app
from policy_service.settings import Settings
from tests.support import ROOT


def test_every_endpoint() -> None:
    paths = create_app(Settings(database_url="postgresql://unused", redis_url="redis://unused")).openapi()["paths"]
    endpoints = {path: {method.upper() for method in operations} for path, operations in paths.items()}
    rows = re.findall(r"^\| `(/\S*)` \| ([A-Z, ]+) \|", _page("api.md"), re.MULTILINE)
    assert {path: set(methods.split(", ")) for path, methods in rows} == endpoints


def test_every_setting_of_the_service() -> None:
    cells = re.findall(r"^\| (`CORSPOLICY_.*?) \|", _page("operations.md"), re.MULTILINE)
    names = {name.lower() for cell in cells for name in re.findall(r"`CORSPOLICY_(\w+)`", cell)}
    assert names == set(Settings.model_fields)


def test_every_setting_of_a_policy() -> None:
    table = re.search(r"^## Settings$.*?\n\n((?:\|.*\n)+)", _page("policies.md"), re.MULTILINE | re.DOTALL)
    assert table is not None
    assert re.findall(r"^\| `(\w+)` \|", table[1], re.MULTILINE) == list(SETTINGS)


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()
