"""`corspolicy origins find | remove-everywhere`: one origin in the policies of all tenants."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import click
import httpx

from policy_service.cli.shared.api import PAGE, Api, Rejected, WriteOptions
from policy_service.cli.shared.arguments import reason_option, yes_option
from policy_service.cli.shared.output import counted, echo_json, output_option, plain, show

STILL_ALLOWED = 2
CONCURRENCY = 4
MAX_NAMED = 20
MAX_ATTEMPTS = 5
# These concern one tenant only; after any other status, the next request would be rejected as well.
_OF_ONE_TENANT = frozenset((403, 409, 412, 413, 422))
_NOTHING_LEFT = "removed meanwhile by another change"


class _Found(NamedTuple):
    """The entries that allow an origin; how many others allow every origin."""

    items: Sequence[Mapping[str, Any]]
    any_origin: Mapping[str, Any]


class _Outcome(NamedTuple):
    """What became of a tenant's entries."""

    text: str
    is_removed: bool


@click.command("find")
@click.argument("origin")
@output_option
def find_origin(origin: str, output: str) -> None:
    """Find who allows an ORIGIN: every tenant, policy and pattern, wildcards included.

    Takes a pattern, too, and finds the entries that allow all that it does; `*` finds those that allow every origin.
    """
    with Api.from_environment() as api:
        found = _find(api, origin)
    if output == "json":
        echo_json({"origin": origin, "items": found.items, "any_origin": found.any_origin})
        return
    if found.items:
        columns = ("tenant", "service", "pattern", "expires at", "expired")
        show(output, found.items, columns, lambda item: [item[column.replace(" ", "_")] for column in columns])
    else:
        click.echo(plain(f"No entry for {origin}, nor a wildcard that covers it."))
    _note_any_origin(origin, found)


@click.command("remove-everywhere")
@click.argument("origin")
@yes_option
@reason_option
def remove_everywhere(origin: str, yes: bool, reason: str | None) -> None:
    """Remove an ORIGIN from every policy of every tenant: show a plan, ask, and make one change per tenant.

    Removes the entries that are exactly ORIGIN, which may be a pattern, too. Where a wildcard allows it as well, that
    entry is named and stays. After an interruption, run the command again to continue.

    Exit codes: 0, nothing allows the origin any more, `*` aside; 2, a wildcard does; 1, an error.
    """
    with Api.from_environment() as api:
        found = _find(api, origin)
        tenants = _show_plan(origin, found)
        _note_any_origin(origin, found)
        if tenants:
            _confirm(yes)
            _remove_from(api, origin, tenants, WriteOptions(reason, is_confirmed=True))
            found = _find(api, origin)
    remaining = [item for item in found.items if not item["expired"]]
    if remaining:
        click.echo(
            f"Still allowed by {counted(len(remaining), 'entry' if len(remaining) == 1 else 'entrie')}.", err=True
        )
        sys.exit(STILL_ALLOWED)


def _find(api: Api, origin: str) -> _Found:
    page = api.get("/v1/origins", origin=origin, limit=PAGE)
    items = page["items"]
    if page["next_cursor"] is not None:
        items += api.items("/v1/origins", origin=origin, cursor=page["next_cursor"])
    return _Found(items, page["any_origin"])


def _note_any_origin(origin: str, found: _Found) -> None:
    count = found.any_origin["count"]
    if count and origin != "*":
        number = f"More than {count:,}" if found.any_origin["more"] else f"{count:,}"
        text = "policies allow every origin (`*`, without credentials): `corspolicy origins find '*'` lists them."
        click.echo(f"note: {number} {text}", err=True)


def _show_plan(origin: str, found: _Found) -> Sequence[str]:
    """Print what is removed and what is not; returns the tenants to change."""
    exact: dict[str, list[str]] = {}
    wider: dict[str, list[str]] = {}
    for item in found.items:
        if item["pattern"] == origin:
            exact.setdefault(item["tenant"], []).append(item["service"])
        elif not item["expired"]:
            wider.setdefault(item["pattern"], []).append(f"{item['tenant']} ({item['service']})")
    click.echo(plain(f"{origin} is removed from {counted(len(exact), 'tenant')}{':' if exact else '.'}"))
    _echo_list([f"  - {tenant} ({', '.join(services)})" for tenant, services in exact.items()])
    for pattern, places in wider.items():
        click.echo(plain(f"Not removed: allowed by {pattern} in"))
        _echo_list([f"    {place}" for place in places])
        click.echo(
            plain(f"  Allow what is still needed by itself, then: corspolicy origins remove-everywhere '{pattern}'")
        )
    return list(exact)


def _echo_list(lines: Sequence[str]) -> None:
    for line in lines[:MAX_NAMED]:
        click.echo(plain(line))
    if lines[MAX_NAMED:]:
        click.echo(f"    and {len(lines) - MAX_NAMED:,} more")


def _confirm(yes: bool) -> None:
    if not yes:
        if not sys.stdin.isatty():
            raise click.ClickException("Not a terminal: pass --yes to remove it without confirmation.")
        click.confirm("Remove it, also where the policy then allows no origin?", abort=True)


def _remove_from(api: Api, origin: str, tenants: Sequence[str], options: WriteOptions) -> None:
    """Change the tenants, a few at a time, and print the outcome of each. Raises click.ClickException if one failed."""
    failed = 0
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        try:
            outcomes = threads.map(partial(_remove, api, origin, options), tenants)
            for tenant, outcome in zip(tenants, outcomes, strict=True):
                click.echo(plain(f"{tenant}: {outcome.text}"), err=not outcome.is_removed)
                failed += not outcome.is_removed
        finally:
            # After an error or Ctrl-C: requests in flight are completed, and no other is sent.
            threads.shutdown(cancel_futures=True)
    if failed:
        raise click.ClickException(f"Rejected and left unchanged: {counted(failed, 'tenant')}.")


def _remove(api: Api, origin: str, options: WriteOptions, tenant: str) -> _Outcome:
    text = ""
    for _ in range(MAX_ATTEMPTS):
        try:
            return _remove_once(api, origin, options, tenant)
        except Rejected as error:
            if error.status == httpx.codes.NOT_FOUND:
                return _Outcome(_NOTHING_LEFT, is_removed=True)
            if error.status not in _OF_ONE_TENANT:
                raise
            text = error.format_message()
            # If another change came between reading and writing, the next attempt reads again.
            if error.status != httpx.codes.PRECONDITION_FAILED:
                break
    return _Outcome(text, is_removed=False)


def _remove_once(api: Api, origin: str, options: WriteOptions, tenant: str) -> _Outcome:
    """Remove the origin from the tenant as it is now, in one change."""
    path = f"/v1/tenants/{tenant}"
    document = api.get(path, include="policies")
    entries = [
        (service, entry["id"])
        for service, policy in document["policies"].items()
        for entry in policy["allow_origins"]
        if entry["pattern"] == origin
    ]
    revision = document["revision"]
    if not entries:
        return _Outcome(_NOTHING_LEFT, is_removed=True)
    if len(entries) == 1:
        # However long the policy is, the request is short.
        [(service, entry_id)] = entries
        api.call("DELETE", f"{path}/policies/{service}/origins/{entry_id}", revision=revision, options=options)
    else:
        for policy in document["policies"].values():
            policy["allow_origins"] = [entry for entry in policy["allow_origins"] if entry["pattern"] != origin]
        api.call("PUT", path, document, revision=revision, options=options)
    return _Outcome(f"removed from {', '.join(service for service, _ in entries)}", is_removed=True)
