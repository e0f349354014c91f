"""How two documents of a tenant differ: in words for people, and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from corspolicy.core.document import DEFAULT
from corspolicy.core.policy import SETTINGS, Flag, Names, Number, Origins, format_time
from policy_service.documents.model import Entry, StoredDocument, StoredPolicy


def compare(before: StoredDocument | None, after: StoredDocument | None, at: datetime) -> Iterator[Difference]:
    """Every difference of a change made at that time; None means that the tenant does not exist."""
    if before is None:
        yield Difference(words="tenant created", op="add")
    if after is None:
        yield Difference(words="tenant deleted", op="remove")
    old, new = before or StoredDocument(), after or StoredDocument()
    if old.name != new.name and after is not None:
        words = f"name “{old.name}” → “{new.name}”"
        yield Difference(words=words, op="replace", field="name", before=old.name, after=new.name)
    for service in sorted({*old.policies, *new.policies}):
        yield from _policy(service, old.policies.get(service), new.policies.get(service), at)


def _policy(
    service: str, before: StoredPolicy | None, after: StoredPolicy | None, at: datetime
) -> Iterator[Difference]:
    if before is None:
        yield Difference(words=f"policy {service} added", op="add", policy=service)
    if after is None:
        yield Difference(words=f"policy {service} removed", op="remove", policy=service)
    prefix = "" if service == DEFAULT else f"{service}: "
    for item in _settings(before or StoredPolicy(), after or StoredPolicy(), at):
        yield item.model_copy(update={"words": prefix + item.words, "policy": service})


def _settings(old: StoredPolicy, new: StoredPolicy, at: datetime) -> Iterator[Difference]:
    for field, setting in SETTINGS.items():
        before, after = getattr(old, field), getattr(new, field)
        match setting.kind:
            case Origins():
                yield from _origins(field, before, after, at)
            case Names(added, removed):
                yield from _names(field, before, after, added, removed)
            case Flag(label) if before != after:
                words = f"{label or field} switched {'on' if after else 'off'}"
                yield Difference(words=words, op="replace", field=field, before=before, after=after)
            case Number(unset=unset) if before != after:
                words = f"{field} {unset if before is None else before} → {unset if after is None else after}"
                yield Difference(words=words, op="replace", field=field, before=before, after=after)


def _origins(field: str, old: Sequence[Entry], new: Sequence[Entry], at: datetime) -> Iterator[Difference]:
    befores = {entry.pattern: entry for entry in old}
    afters = {entry.pattern: entry for entry in new}
    for pattern, before in befores.items():
        if pattern not in afters:
            # One that had expired was no longer allowed before.
            expired = f"removed: expired {_time(before.expires_at)}" if before.has_expired(at) else None
            words = f"{pattern} {expired or 'no longer allowed'}"
            yield Difference(words=words, op="remove", field=field, before=before.model_dump(mode="json"))
    for pattern, after in afters.items():
        if pattern not in befores:
            until = "" if after.expires_at is None else f" until {_time(after.expires_at)}"
            words, data = f"{pattern} allowed{until}", after.model_dump(mode="json")
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
    return ", ".join(changed) or "replaced by another entry with the same pattern"


def _time(instant: datetime | None) -> str:
    return "never" if instant is None else format_time(instant.timestamp())


def _names(field: str, old: Sequence[str], new: Sequence[str], added: str, removed: str) -> Iterator[Difference]:
    befores, afters = dict.fromkeys(old), dict.fromkeys(new)
    for name in befores:
        if name not in afters:
            yield Difference(words=removed.format(name), op="remove", field=field, before=name)
    for name in afters:
        if name not in befores:
            yield Difference(words=added.format(name), op="add", field=field, after=name)
    yield from _order(field, befores, afters)


def _order(field: str, befores: Mapping[str, object], afters: Mapping[str, object]) -> Iterator[Difference]:
    # Reported only on its own: the order decides nothing.
    if befores.keys() == afters.keys() and list(befores) != list(afters):
        yield Difference(words=f"{field} reordered", op="reorder", field=field)


class Difference(BaseModel):
    """One difference between two documents, in words and as data."""

    words: str = Field(examples=["https://app.example.com allowed", "max_age 600 → 60"])
    op: Literal["add", "remove", "replace", "reorder"]
    policy: str | None = Field(default=None, description="the service that the policy is for, or `default`")
    field: str | None = Field(default=None, description="the setting; null for the policy or the tenant as a whole")
    before: Any = None
    after: Any = None
