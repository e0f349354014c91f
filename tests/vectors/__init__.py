"""Test vectors: requests with the exact answer that the rules demand, as data."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

from corspolicy.core.document import PLATFORM, Document
from corspolicy.core.validation import check

Vector = dict[str, Any]

DECISIONS = ("origins", "actual", "preflight", "chain", "no_origin")


def load(*names: str) -> list[Vector]:
    """All cases of the named files."""
    folder = Path(__file__).parent
    return [case for name in names for case in json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))]


def name_of(case: Vector) -> str:
    """A case's name in test reports."""
    rule = f"rule {case['rule']}: " if "rule" in case else ""
    return f"{rule}{case['name']}"


def lines(case: Vector) -> list[tuple[bytes, bytes]]:
    """The request's header lines as ASGI gives them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in case["request"]["headers"]]


def hidden(case: Vector) -> set[bytes]:
    """The names of the request headers that the app must not see."""
    return {name.encode() for name in case["expect"].get("hidden", ())}


def documents(case: Vector) -> tuple[Document | None, Document | None]:
    """The documents of the request's tenant and of the platform."""
    read = {}
    for tenant, services in case["policies"].items():
        policies = {}
        for service, values in services.items():
            checked = check(values)
            assert checked.policy is not None, checked.errors
            policies[service] = checked.policy
        read[tenant] = Document(tenant, 1, MappingProxyType(policies))
    return read.get(case["tenant"]), read.get(PLATFORM)
