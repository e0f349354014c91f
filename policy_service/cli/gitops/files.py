"""A tenant's file: its content, and everything that is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from corspolicy.core.document import DEFAULT
from corspolicy.core.names import is_service, is_slug
from corspolicy.core.policy import Policy
from corspolicy.core.validation import check, json_pointer
from policy_service.cli.gitops import strict_yaml
from policy_service.cli.gitops.strict_yaml import Defect
from policy_service.cli.shared.output import escaped
from policy_service.documents.domains import is_public_suffix, to_ascii
from policy_service.documents.schemas import READ_ONLY

MAX_NAME_LENGTH = 200
MAX_BYTES = 16 * 1024 * 1024
_FIELDS = ("tenant", "name", "policies")

PolicyValues = dict[str, Any]


class Tenant(NamedTuple):
    """A tenant in minimal form: two that are equivalent are equal."""

    name: str
    policies: dict[str, PolicyValues]


class TenantFile(NamedTuple):
    """A valid file."""

    path: Path
    slug: str
    tenant: Tenant
    warnings: list[Defect]
    read: strict_yaml.Read


class Invalid(NamedTuple):
    """A file that can't be used, and why."""

    path: Path
    defects: list[Defect]


def paths(place: Path) -> list[Path]:
    """The tenant files in a folder, or the one file that `place` is."""
    if place.is_file():
        return [place]
    return sorted(path for path in place.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file())


def read(path: Path) -> TenantFile | Invalid:
    """Read one file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return Invalid(path, [Defect(1, f"Can't read this file: {error.strerror}.")])
    if len(data) > MAX_BYTES:
        return Invalid(path, [Defect(1, f"A tenant's file must not be larger than {MAX_BYTES} bytes.")])
    return _checked(path, strict_yaml.read(data))


def heading(path: Path) -> str:
    """The comments at the top of a file, such as those that name a schema to editors."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return "".join(takewhile(lambda line: line.startswith("#"), lines))


def minimal(policy: Policy, values: Mapping[str, Any], now: float) -> PolicyValues:
    """A policy's values without those that are defaults, in a canonical order.

    Expired entries are left out, too: they allow nobody, and the service removes them.
    """
    entries = [value for value in values.get("allow_origins", ()) if isinstance(value, Mapping)]
    notes = {entry["pattern"]: entry.get("note") for entry in reversed(entries)}
    settings = policy.to_json()
    ended = {
        entry.pattern for entry in policy.allow_origins if entry.expires_at is not None and entry.expires_at <= now
    }
    origins = []
    for entry in settings.pop("allow_origins"):
        fields = {"pattern": entry} if isinstance(entry, str) else dict(entry)
        if notes.get(fields["pattern"]) is not None:
            fields["note"] = notes[fields["pattern"]]
        if fields["pattern"] not in ended:
            origins.append(fields)
    origins.sort(key=lambda fields: fields["pattern"])
    lists = {name: sorted(value) if isinstance(value, list) else value for name, value in settings.items()}
    return {"allow_origins": [_short(fields) for fields in origins], **lists} if origins else lists


def stored(values: Mapping[str, Any]) -> PolicyValues:
    """A policy as the service shows it, in minimal form. Raises ValueError with the reason if it can't be read."""
    checked = check({name: values[name] for name in values if name not in READ_ONLY})
    if checked.policy is None:
        error = checked.errors[0]
        raise ValueError(f"{error.pointer}: {error.message}")
    return minimal(checked.policy, values, time.time())


def _short(fields: PolicyValues) -> str | PolicyValues:
    return fields["pattern"] if len(fields) == 1 else fields


def written(slug: str, tenant: Tenant) -> str:
    """The text of a tenant's file."""
    values: dict[str, Any] = {"tenant": slug}
    if tenant.name:
        values["name"] = tenant.name
    values["policies"] = {name: tenant.policies[name] for name in sorted(tenant.policies, key=_default_first)}
    return _dumped(values)


def policy_text(values: Mapping[str, Any]) -> str:
    """The text of one policy from the API, as in a tenant's file."""
    return _dumped(stored(values))


def _default_first(service: str) -> tuple[bool, str]:
    return service != DEFAULT, service


def _dumped(values: PolicyValues) -> str:
    return escaped(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000))


class _Dumper(yaml.SafeDumper):
    """Indents lists, as people do, and quotes every string that a YAML reader might read as something else."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        is_plain = not strict_yaml.is_ambiguous(data) and data[:1] not in "+-.0123456789"
        # Only between double quotes are such characters escaped: elsewhere, line breaks are folded into spaces.
        style = '"' if not data.isprintable() else None if is_plain else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _checked(path: Path, read: strict_yaml.Read) -> TenantFile | Invalid:
    defects, warnings = list(read.defects), list[Defect]()

    def defect(pointer: str, message: str, suggestion: str | None = None) -> None:
        defects.append(Defect(read.line(pointer), message, suggestion))

    if not isinstance(read.values, dict):
        if not defects:
            defect("", "A tenant's file must have the keys tenant, name and policies.")
        return Invalid(path, defects)
    values = read.values
    for name in values.keys() - _FIELDS:
        defect(json_pointer(name), f"Unknown key: {name}. The keys are {', '.join(_FIELDS)}.")
    slug, name, policies = values.get("tenant"), values.get("name", ""), values.get("policies")
    if not isinstance(slug, str) or not is_slug(slug):
        message = "tenant must be 1 to 63 lower-case letters, digits and hyphens, such as acme."
        defect("/tenant", message, None if is_slug(path.stem) is False else f"tenant: {path.stem}")
    elif slug != path.stem:
        message = f"The tenant is {slug}, but the file is {path.name}: change one of the two."
        defect("/tenant", message, f"{slug}.yaml")
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        message = f"name must be at most {MAX_NAME_LENGTH} printable characters; quote it if it is a number."
        defect("/name", message)
    if not isinstance(policies, dict):
        defect("/policies", "policies must map each service, or `default`, to its policy; {} for none.")
        policies = {}
    built = {}
    for service, policy in policies.items():
        pointer = "/policies" + json_pointer(service)
        if not is_service(service):
            allowed = "1 to 63 lower-case letters, digits, dots, hyphens and underscores"
            defect(pointer, f"{service} is not a valid service name: use {allowed}.")
        policy = {} if policy is None else policy
        checked = check(policy, to_ascii=to_ascii, is_public_suffix=is_public_suffix)
        for error in checked.errors:
            defect(pointer + error.pointer, error.message, error.suggestion)
        warnings += [Defect(read.line(pointer + found.pointer), found.message) for found in checked.warnings]
        if checked.policy is not None:
            now = time.time()
            built[service] = minimal(checked.policy, policy, now)
            warnings += _expired(checked.policy, now, pointer, read)
    if defects:
        return Invalid(path, sorted(defects, key=lambda found: found.line))
    return TenantFile(path, str(slug), Tenant(str(name), built), sorted(warnings, key=lambda found: found.line), read)


def _expired(policy: Policy, now: float, pointer: str, read: strict_yaml.Read) -> list[Defect]:
    return [
        Defect(read.line(f"{pointer}/allow_origins/{index}"), f"{entry.pattern} has expired: remove it.")
        for index, entry in enumerate(policy.allow_origins)
        if entry.expires_at is not None and entry.expires_at <= now
    ]
