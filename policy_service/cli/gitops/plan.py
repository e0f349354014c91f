"""What has to change to make the service match the files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import click

from corspolicy.core.document import PLATFORM
from policy_service.cli.gitops.files import PolicyValues, Tenant, TenantFile, stored
from policy_service.cli.shared.api import Api
from policy_service.cli.shared.output import plain

PAGE = 200
_SIGNS = {"create": "+", "change": "~", "delete": "-"}
_COLOURS = {"+": "green", "~": "yellow", "-": "red"}


class Current(NamedTuple):
    """A tenant as the service has it."""

    tenant: Tenant
    revision: int


@dataclass(frozen=True)
class PlannedEdit:
    """One value to add, change or remove. `value` names the entry in a list."""

    policy: str | None
    setting: str | None
    value: str | None
    before: Any
    after: Any


@dataclass(frozen=True)
class Step:
    """The change of one tenant, made by one request."""

    action: Literal["create", "change", "delete"]
    tenant: str
    revision: int | None
    wanted: Tenant | None
    edits: list[PlannedEdit]

    def to_json(self) -> dict[str, Any]:
        """The step for scripts."""
        found = [asdict(edit) for edit in self.edits]
        return {"action": self.action, "tenant": self.tenant, "revision": self.revision, "edits": found}

    def body(self) -> dict[str, Any]:
        """The entire tenant, as the body of PUT."""
        assert self.wanted is not None
        policies = {service: _whole(values) for service, values in self.wanted.policies.items()}
        return {"name": self.wanted.name, "policies": policies}


@dataclass(frozen=True)
class Plan:
    """All steps, and the tenants without a file."""

    steps: list[Step]
    unchanged: int
    without_file: list[str]


def current(api: Api) -> dict[str, Current]:
    """All tenants as the service has them. Raises click.ClickException."""
    return {item["tenant"]: _current(item) for item in api.items("/v1/tenants", include="policies", limit=PAGE)}


def current_tenant(api: Api, slug: str) -> Current:
    """One tenant as the service has it. Raises click.ClickException."""
    return _current(api.get(f"/v1/tenants/{slug}", include="policies"))


def plan(files: Sequence[TenantFile], tenants: Mapping[str, Current], prune: Iterable[str]) -> Plan:
    """Compare the files with the service. Raises click.ClickException for a tenant that can't be pruned."""
    wanted = {file.slug: file.tenant for file in files}
    steps = []
    for slug, tenant in sorted(wanted.items()):
        there = tenants.get(slug)
        found = edits(None if there is None else there.tenant, tenant)
        if there is None:
            steps.append(Step("create", slug, None, tenant, found))
        elif found:
            steps.append(Step("change", slug, there.revision, tenant, found))
    unchanged = len(wanted) - len(steps)
    for slug in sorted(set(prune)):
        if slug == PLATFORM or slug in wanted:
            why = "can't be deleted" if slug == PLATFORM else "has a file"
            raise click.ClickException(f"--prune {slug}: that tenant {why}.")
        if slug in tenants:
            gone = edits(tenants[slug].tenant, None)
            steps.append(Step("delete", slug, tenants[slug].revision, None, gone))
    pruned = {step.tenant for step in steps}
    without_file = sorted(slug for slug in tenants if slug not in wanted and slug not in pruned)
    return Plan(steps, unchanged, without_file)


def lines(step: Step) -> list[tuple[str, str]]:
    """The step as text, line by line, each with its sign."""
    sign = _SIGNS[step.action]
    return [
        (sign, f"{sign} {step.tenant}"),
        *((mark, f"    {mark} {text}") for mark, text in map(_line, step.edits)),
    ]


def colour(sign: str) -> str:
    """The colour of a sign on a terminal."""
    return _COLOURS[sign]


def _current(item: Mapping[str, Any]) -> Current:
    policies = {}
    for service, values in item["policies"].items():
        try:
            policies[service] = stored(values)
        except ValueError as error:
            hint = "If the service is newer than this command, upgrade the command."
            where = plain(f"{service} of {item['tenant']}")
            raise click.ClickException(f"The policy {where} can't be read: {error} {hint}") from error
    return Current(Tenant(item["name"], policies), item["revision"])


def _whole(values: PolicyValues) -> PolicyValues:
    # Explicit in every entry: where a note is missing, the service keeps the one that it has.
    entries = [_fields(entry) for entry in values.get("allow_origins", ())]
    return {**values, "allow_origins": [{"note": None, "expires_at": None, **entry} for entry in entries]}


def _fields(entry: str | PolicyValues) -> PolicyValues:
    return {"pattern": entry} if isinstance(entry, str) else dict(entry)


def edits(before: Tenant | None, after: Tenant | None) -> list[PlannedEdit]:
    """What to edit in a tenant to get from one state to another; None means that there is no such tenant."""
    old, new = before or Tenant("", {}), after or Tenant("", {})
    found = [] if old.name == new.name else [PlannedEdit(None, "name", None, old.name or None, new.name or None)]
    for service in sorted(old.policies.keys() | new.policies.keys()):
        was, will = old.policies.get(service), new.policies.get(service)
        if was is None or will is None:
            found.append(PlannedEdit(service, None, None, None if was is None else {}, None if will is None else {}))
        found += _policy_edits(service, was or {}, will or {})
    return found


def _policy_edits(service: str, old: PolicyValues, new: PolicyValues) -> list[PlannedEdit]:
    found = []
    for setting in sorted(old.keys() | new.keys()):
        was, will = old.get(setting), new.get(setting)
        if isinstance(was or will, list):
            entries = _by_value(was or []), _by_value(will or [])
            for value in sorted(entries[0].keys() | entries[1].keys()):
                pair = entries[0].get(value), entries[1].get(value)
                if pair[0] != pair[1]:
                    found.append(PlannedEdit(service, setting, value, *pair))
        elif was != will:
            found.append(PlannedEdit(service, setting, None, was, will))
    return found


def _by_value(entries: Sequence[str | PolicyValues]) -> dict[str, PolicyValues]:
    return {fields.pop("pattern"): fields for fields in map(_fields, entries)}


def _line(edit: PlannedEdit) -> tuple[str, str]:
    before, after = edit.before, edit.after
    sign = "+" if before is None else "-" if after is None else "~"
    place = " ".join(filter(None, (edit.policy, edit.setting)))
    if edit.setting is None:
        return sign, f"{place} policy"
    if edit.value is not None:
        details = [
            f"{name}: {_text_of(before, name)} → {_text_of(after, name)}"
            if sign == "~"
            else f"{name}: {_text_of(after, name)}"
            for name in ("note", "expires_at")
            if (before or {}).get(name) != (after or {}).get(name) and sign != "-"
        ]
        return sign, f"{place}: {edit.value}" + (f" ({', '.join(details)})" if details else "")
    values = [json.dumps(value, ensure_ascii=False) for value in (before, after) if value is not None]
    return sign, f"{place}: {' → '.join(values)}"


def _text_of(fields: Mapping[str, Any] | None, name: str) -> str:
    value = (fields or {}).get(name)
    return "none" if value is None else str(value)
