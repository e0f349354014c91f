"""`corspolicy history | restore | tail`: what was changed, and how to undo it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click
import httpx

from policy_service.cli.shared import propagation
from policy_service.cli.shared.api import PAGE, Api, Asked, Refused, Unreachable, error_text
from policy_service.cli.shared.arguments import (
    UNTIL_NOW,
    confirm_option,
    optional_tenant_argument,
    reason_option,
    tenant_argument,
    tenant_option,
    yes_option,
)
from policy_service.cli.shared.output import echo_json, output_option, plain
from policy_service.cli.shared.propagation import wait_option

RECONNECT_SECONDS = 2.0
# Of a change in a list; one change alone is shown whole.
MAX_LISTED = 10
_PASSING = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


@click.command()
@optional_tenant_argument
@click.argument("revision", required=False, type=click.IntRange(1))
@click.option("--actor", help="Those by this key (key:9da3f2d6ed7f), or for this subject.")
@click.option("--action", help="Those of this kind, such as origin.add.")
@click.option("--since", type=UNTIL_NOW, help="Those made since: 90m, 12h, 3d or a time.")
@click.option("--until", type=UNTIL_NOW, help="Those made before: 90m, 12h, 3d or a time.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many, the newest first.")
@output_option
def history(tenant: str | None, revision: int | None, limit: int, output: str, **filters: str | None) -> None:
    """What was changed, when, by whom and why: in a TENANT, or in all; or one REVISION with all that it changed."""
    query = {name: value for name, value in filters.items() if value is not None}
    with Api.from_environment() as api:
        if revision is not None:
            found = [api.get(f"/v1/tenants/{tenant}/changes/{revision}")]
        elif tenant is not None and not query:
            found = _newest(api, f"/v1/tenants/{tenant}/changes", limit)
        else:
            query |= {} if tenant is None else {"tenant": tenant}
            found = _newest(api, "/v1/changes", limit, **query)
    if output == "json":
        echo_json(found if revision is None else found[0])
    else:
        most = MAX_LISTED if revision is None else None
        click.echo("\n\n".join(_text(change, most) for change in found) or "There are no such changes.")


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
    """Make a tenant again what it was at a REVISION, as a new one. A deleted tenant comes back."""
    path, body = f"/v1/tenants/{tenant}/restore", {"revision": revision}
    with Api.from_environment() as api:
        tried = api.call("POST", path, body, query={"dry_run": True}, revision="*")
        if not tried["difference"]:
            click.echo(f"{tenant} is what it was at revision {revision}: there is nothing to do.")
            return
        click.echo("\n".join(_differences(tried)))
        for loss in tried["problems"]:
            click.secho(error_text(loss, "").strip(), fg="red")
        if not yes:
            click.confirm(f"Restore {tenant} to revision {revision}?", abort=True)
            # Whoever has just read what it takes away means it.
            confirm = True
        present = tried["revision"] if tried["revision"] is not None else "*"
        done = api.call("POST", path, body, revision=present, asked=Asked(reason, confirm, wait))
    click.echo(f"{tenant} is as it was at revision {revision}, as revision {done['revision']}.")
    propagation.show(done)


@click.command()
@tenant_option("tenant", help="Of this tenant only.")
@click.option("--since", type=UNTIL_NOW, help="Begin with those made since: 90m, 12h, 3d or a time.")
@output_option
def tail(tenant: str | None, since: str | None, output: str) -> None:
    """Follow the changes of all tenants as they are published, until Ctrl-C. JSON is one line for each."""
    query = {name: value for name, value in (("tenant", tenant), ("since", since)) if value is not None}
    with Api.from_environment() as api, contextlib.suppress(KeyboardInterrupt):
        for change in _changes(api, query):
            click.echo(json.dumps(change, ensure_ascii=False) if output == "json" else f"{_text(change)}\n")


def _changes(api: Api, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All changes from now on, across breaks of the connection; what was never reached raises Unreachable."""
    last_id = ""
    while True:
        try:
            for event in api.events("/v1/changes", query, last_id):
                last_id = event.id or last_id
                if event.data:
                    yield event.json()
        except (Unreachable, Refused) as error:
            is_passing = isinstance(error, Unreachable) or error.status in _PASSING
            if not last_id or not is_passing:
                raise
        time.sleep(RECONNECT_SECONDS)


def _text(change: Mapping[str, Any], most: int | None = MAX_LISTED) -> str:
    by = change["actor"] + (f" for {change['subject']}" if change["subject"] else "")
    heading = f"{change['revision']}  {change['changed_at']}  {change['tenant']}  {change['action']}  by {by}"
    why = [f"    why: {change['reason']}"] if change["reason"] else []
    return "\n".join(map(plain, (heading, *why, *_differences(change, most))))


def _differences(change: Mapping[str, Any], most: int | None = None) -> list[str]:
    lines = [plain(f"    {item['words']}") for item in change["difference"][:most]]
    omitted = len(change["difference"]) - len(lines) + change["omitted"]
    return [*lines, f"    and {omitted:,} more"] if omitted else lines
