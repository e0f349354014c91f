"""`corspolicy explain`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from policy_service.cli.shared.api import Api
from policy_service.cli.shared.arguments import service_option, tenant_argument
from policy_service.cli.shared.output import echo_json, output_option, plain

# For these, and without headers of the page's own, browsers ask no permission first.
_WITHOUT_PREFLIGHT = frozenset(("GET", "HEAD", "POST"))


@click.command()
@tenant_argument
@click.argument("origin")
@service_option
@click.option("--method", default="GET", show_default=True, help="The method of the page's request.")
@click.option("--header", "headers", multiple=True, metavar="NAME", help="A header that the page sets; repeatable.")
@click.option("--revision", type=click.IntRange(1), help="As things stood at this revision of the tenant.")
@output_option
def explain(
    tenant: str, origin: str, service: str, method: str, headers: Sequence[str], revision: int | None, output: str
) -> None:
    """Say whether a page from ORIGIN may call a TENANT's service, and why.

    Where a browser would send a preflight first, the answer is the preflight's.
    """
    lines = {"Origin": origin}
    is_preflight = method not in _WITHOUT_PREFLIGHT or bool(headers)
    if is_preflight:
        lines["Access-Control-Request-Method"] = method
    if headers:
        # As browsers write it: lower case, sorted, no space (Fetch, section 4.8).
        lines["Access-Control-Request-Headers"] = ",".join(sorted(name.lower() for name in headers))
    question = {
        "tenant": tenant,
        "service": service,
        "method": "OPTIONS" if is_preflight else method,
        "headers": lines,
        "revision": revision,
    }
    with Api.from_environment() as api:
        answer = api.call("POST", "/v1/decisions", question)
    if output == "json":
        echo_json(answer)
    else:
        _show(answer)


def _show(answer: Mapping[str, Any]) -> None:
    is_allowed = answer["allowed"]
    click.secho("allowed" if is_allowed else f"refused ({answer['reason']})", fg="green" if is_allowed else "red")
    click.echo(plain(answer["message"]))
    for near in answer["near_misses"][1:]:
        click.echo(plain(near["message"]))
    if answer["policy"] is not None:
        by = f" by {answer['pattern']}" if answer["pattern"] else ""
        click.echo(
            f"\nthe origin is admitted{by}, policy {answer['policy']['service']} of {answer['policy']['tenant']}"
        )
    click.echo("\nresponse" + (f" {answer['status']}" if answer["status"] else ", from the service's app") + ", with:")
    for name, value in answer["headers"]:
        click.echo(f"  {name}: {plain(value)}")
