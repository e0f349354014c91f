"""In what two documents of a tenant differ: in words for people, and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from corspolicy.core.document import DEFAULT
from corspolicy.core.policy import format_time
from policy_service.documents.model import Entry, StoredDocument, StoredPolicy

_LISTS = {
    "allow_methods": ("method {} allowed", "method {} no longer allowed"),
    "allow_headers": ("header {} allowed", "header {} no longer allowed"),
    "expose_headers": ("header {} exposed", "header {} no longer exposed"),
}
_FLAGS = {
    "allow_credentials": "credentials",
    "dangerously_allow_insecure_origins": "dangerously_allow_insecure_origins",
    "dangerously_allow_public_suffixes": "dangerously_allow_public_suffixes",
}


def compare(before: StoredDocument | None, after: StoredDocument | None) -> Iterator[Difference]:
    """Every difference; None stands for a tenant that does not exist."""
    if before is None:
        yield Difference(words="tenant created", op="add")
    if after is None:
        yield Difference(words="tenant deleted", op="remove")
    old, new = before or StoredDocument(), after or StoredDocument()
    if old.name != new.name and after is not None:
        words = f"name “{old.name}” → “{new.name}”"
        yield Difference(words=words, op="replace", field="name", before=old.name, after=new.name)
    for service in sorted({*old.policies, *new.policies}):
        yield from _policy(service, old.policies.get(service), new.policies.get(service))


def _policy(service: str, before: StoredPolicy | None, after: StoredPolicy | None) -> Iterator[Difference]:
    if before is None:
        yield Difference(words=f"policy {service} added", op="add", policy=service)
    if after is None:
        yield Difference(words=f"policy {service} removed", op="remove", policy=service)
    prefix = "" if service == DEFAULT else f"{service}: "
    for item in _settings(before or StoredPolicy(), after or StoredPolicy()):
        yield item.model_copy(update={"words": prefix + item.words, "policy": service})


def _settings(old: StoredPolicy, new: StoredPolicy) -> Iterator[Difference]:
    yield from _origins(old.allow_origins, new.allow_origins)
    for field in _LISTS:
        yield from _names(field, getattr(old, field), getattr(new, field))
    for field, name in _FLAGS.items():
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            words = f"{name} switched {'on' if after else 'off'}"
            yield Difference(words=words, op="replace", field=field, before=before, after=after)
    if old.max_age != new.max_age:
        before, after = ("not sent" if value is None else str(value) for value in (old.max_age, new.max_age))
        words = f"max_age {before} → {after}"
        yield Difference(words=words, op="replace", field="max_age", before=old.max_age, after=new.max_age)


def _origins(old: list[Entry], new: list[Entry]) -> Iterator[Difference]:
    field = "allow_origins"
    befores = {entry.pattern: entry for entry in old}
    afters = {entry.pattern: entry for entry in new}
    for pattern, before in befores.items():
        if pattern not in afters:
            words = f"{pattern} no longer admitted"
            yield Difference(words=words, op="remove", field=field, before=before.model_dump(mode="json"))
    for pattern, after in afters.items():
        if pattern not in befores:
            until = "" if after.expires_at is None else f" until {_time(after.expires_at)}"
            words, data = f"{pattern} admitted{until}", after.model_dump(mode="json")
            yield Difference(words=words, op="add", field=field, after=data)
        elif befores[pattern] != after:
            words = f"{pattern}: {_what_changed(befores[pattern], after)}"
            before_data, data = befores[pattern].model_dump(mode="json"), after.model_dump(mode="json")
            yield Difference(words=words, op="replace", field=field, before=before_data, after=data)
    yield from _order(field, befores, afters)


def _what_changed(before: Entry, after: Entry) -> str:
    changed = []
    if before.expires_at != after.expires_at:
        changed.append(f"expires {_time(before.expires_at)} → {_time(after.expires_at)}")
    if before.note != after.note:
        changed.append("note changed")
    return ", ".join(changed) or "another entry of the same pattern"


def _time(instant: datetime | None) -> str:
    return "never" if instant is None else format_time(instant.timestamp())


def _names(field: str, old: list[str], new: list[str]) -> Iterator[Difference]:
    added, removed = _LISTS[field]
    befores, afters = dict.fromkeys(old), dict.fromkeys(new)
    for name in befores:
        if name not in afters:
            yield Difference(words=removed.format(name), op="remove", field=field, before=name)
    for name in afters:
        if name not in befores:
            yield Difference(words=added.format(name), op="add", field=field, after=name)
    yield from _order(field, befores, afters)


def _order(field: str, befores: Mapping[str, object], afters: Mapping[str, object]) -> Iterator[Difference]:
    # Beside what comes or goes it is not worth a word: nothing is decided by it.
    if befores.keys() == afters.keys() and list(befores) != list(afters):
        yield Difference(words=f"{field} in another order", op="reorder", field=field)


class Difference(BaseModel):
    """One thing in which two documents differ, in words and as data."""

    words: str = Field(examples=["https://app.example.com admitted", "max_age 600 → 60"])
    op: Literal["add", "remove", "replace", "reorder"]
    policy: str | None = Field(default=None, description="the service that the policy is for, or `default`")
    field: str | None = Field(default=None, description="the setting; null for the policy or the tenant as a whole")
    before: Any = None
    after: Any = None
