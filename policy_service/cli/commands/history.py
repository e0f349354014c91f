"""`corspolicy history | restore | tail`: what changed, and undoing it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click
import httpx

from policy_service.cli.shared import propagation
from policy_service.cli.shared.api import PAGE, Api, Rejected, Unreachable, WriteOptions, error_text
from policy_service.cli.shared.arguments import (
    BEFORE_NOW,
    confirm_option,
    optional_tenant_argument,
    reason_option,
    tenant_argument,
    tenant_option,
    yes_option,
)
from policy_service.cli.shared.output import ask, echo, echo_json, echo_lines, json_text, output_option, plain
from policy_service.cli.shared.propagation import wait_option

RECONNECT_SECONDS = 2.0
# Of each change in a list; a single change is shown in full.
MAX_LISTED = 10
DELETION = "tenant.delete"
_TEMPORARY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


@click.command()
@optional_tenant_argument
@click.argument("revision", required=False, type=click.IntRange(1))
@click.option("--actor", help="Only changes by this key (key:9da3f2d6ed7f), or for this subject.")
@click.option("--action", help="Only changes of this kind, such as origin.add.")
@click.option("--since", type=BEFORE_NOW, help="Only changes since then: 90m, 12h, 3d or a time.")
@click.option("--until", type=BEFORE_NOW, help="Only changes before then: 90m, 12h, 3d or a time.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many, newest first.")
@output_option
def history(tenant: str | None, revision: int | None, limit: int, output: str, **filters: str | None) -> None:
    """Show what changed, when, by whom and why: in all tenants, in one TENANT, or in one of its REVISIONs in full."""
    query = {name: value for name, value in filters.items() if value is not None}
    with Api.from_environment() as api:
        if revision is not None:
            changes = [api.get(f"/v1/tenants/{tenant}/changes/{revision}")]
        elif tenant is not None and not query:
            changes = _newest(api, f"/v1/tenants/{tenant}/changes", limit)
        else:
            query |= {} if tenant is None else {"tenant": tenant}
            changes = _newest(api, "/v1/changes", limit, **query)
    if output == "json":
        echo_json(changes if revision is None else changes[0])
    else:
        limit_each = MAX_LISTED if revision is None else None
        echo_lines("\n\n".join(_text(change, limit_each) for change in changes) or "No changes found.")


def _newest(api: Api, path: str, limit: int, **query: str) -> list[dict[str, Any]]:
    return list(islice(api.items(path, limit=min(limit, PAGE), **query), limit))


@click.command()
@tenant_argument
@click.argument("revision", type=click.IntRange(1))
@yes_option
@reason_option
@confirm_option
@wait_option
def restore(tenant: str, revision: int, yes: bool, reason: str | None, confirm: bool, wait: int | None) -> None:
    """Restore a tenant to a REVISION, as a new revision. A deleted tenant is created again."""
    path, body = f"/v1/tenants/{tenant}/restore", {"revision": revision}
    with Api.from_environment() as api:
        preview = api.call("POST", path, body, query={"dry_run": True}, revision="*")
        if not preview["difference"]:
            echo(f"{tenant} already matches revision {revision}: nothing to restore.")
            return
        echo_lines("\n".join(_differences(preview)))
        for removal in preview["problems"]:
            echo_lines(error_text(removal, "").strip(), colour="red")
        if not yes:
            ask(f"Restore {tenant} to revision {revision}?")
            # The answer confirms the removals that were just shown.
            confirm = True
        current = preview["revision"] if preview["revision"] is not None else "*"
        options = WriteOptions(reason, confirm, wait)
        restored = api.call("POST", path, body, revision=current, options=options)
    echo(f"{tenant} restored to revision {revision} (now revision {restored['revision']}).")
    propagation.show(restored)


@click.command()
@tenant_option("tenant", help="Only changes of this tenant.")
@click.option("--since", type=BEFORE_NOW, help="Start with changes since then: 90m, 12h, 3d or a time.")
@output_option
def tail(tenant: str | None, since: str | None, output: str) -> None:
    """Follow changes as they are published, until Ctrl-C. With JSON output, one line for each change."""
    query = {name: value for name, value in (("tenant", tenant), ("since", since)) if value is not None}
    with Api.from_environment() as api, contextlib.suppress(KeyboardInterrupt):
        for change in _changes(api, query):
            echo_lines(json_text(change) if output == "json" else f"{_text(change)}\n")


def _changes(api: Api, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All changes from now on; reconnects if the connection breaks. Raises ApiError if there was none."""
    last_id = ""
    while True:
        try:
            for event in api.events("/v1/changes", query, last_id):
                last_id = event.id or last_id
                if event.data:
                    yield event.json()
        except (Unreachable, Rejected) as error:
            is_temporary = isinstance(error, Unreachable) or error.status in _TEMPORARY
            if not last_id or not is_temporary:
                raise
        time.sleep(RECONNECT_SECONDS)


def _text(change: Mapping[str, Any], limit: int | None = MAX_LISTED) -> str:
    by = change["actor"] + (f" for {change['subject']}" if change["subject"] else "")
    heading = f"{change['revision']}  {change['changed_at']}  {change['tenant']}  {change['action']}  by {by}"
    heading += "" if change["restorable"] or change["action"] == DELETION else "  (can't be restored)"
    why = [f"    why: {change['reason']}"] if change["reason"] else []
    return "\n".join(map(plain, (heading, *why, *_differences(change, limit))))


def _differences(change: Mapping[str, Any], limit: int | None = None) -> list[str]:
    lines = [plain(f"    {item['words']}") for item in change["difference"][:limit]]
    omitted = len(change["difference"]) - len(lines) + change["omitted"]
    return [*lines, f"    and {omitted:,} more"] if omitted else lines
