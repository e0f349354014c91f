"""`corspolicy explain`"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import click

from corspolicy.core.http_names import normalized_method
from policy_service.cli.shared.api import Api
from policy_service.cli.shared.arguments import service_option, tenant_argument
from policy_service.cli.shared.output import echo, echo_json, output_option
from policy_service.decisions.page_requests import (
    needs_preflight,
    preflight_headers,
    unsafe_names,
)

DENIED_EXIT_CODE = 3
MAX_PASTED_BYTES = 1_000_000


@click.command()
@tenant_argument
@click.argument("origin", required=False)
@service_option
@click.option("--method", help="The method of the page's request.  [default: GET]")
@click.option("--header", "headers", multiple=True, metavar="NAME", help="A header that the page sets; repeatable.")
@click.option(
    "--request",
    "file",
    type=click.File("rb"),
    help="Instead of ORIGIN, --method and --header: a file with the request as you copied it, or - for standard input.",
)
@click.option(
    "--entry",
    type=click.IntRange(1),
    help="Which request of a file that has several, from 1.  [default: the first with an Origin]",
)
@click.option("--revision", type=click.IntRange(1), help="Decide as at this revision of the tenant.")
@output_option
@click.pass_context
def explain(
    context: click.Context,
    tenant: str,
    origin: str | None,
    service: str,
    method: str | None,
    headers: Sequence[str],
    file: BinaryIO | None,
    entry: int | None,
    revision: int | None,
    output: str,
) -> None:
    """Say whether a page from ORIGIN may call a TENANT's service, and why.

    Where a browser sends a preflight first, that is decided on as well.

    --request reads a request copied from a browser's network panel ("Copy as cURL", "Copy as fetch", request headers,
    HAR), the output of `curl -v`, a curl command, or a raw request.

    Exits with 0 if the request is allowed or is not subject to CORS, 3 if it is denied, 1 on an error.
    """
    if (origin is None) == (file is None):
        raise click.UsageError("Pass either ORIGIN, or --request with a file (- for standard input).")
    if file is not None and (method is not None or headers):
        raise click.UsageError("Pass --method and --header with ORIGIN; --request has its own.")
    if file is None and entry is not None:
        raise click.UsageError("Pass --entry with --request.")
    asked: dict[str, Any] = {"tenant": tenant, "service": service, "revision": revision}
    asked |= _page_request(origin, method or "GET", headers) if origin is not None else {}
    asked |= {"request": _read(file), "entry": entry} if file is not None else {}
    with Api.from_environment() as api:
        answer = api.call("POST", "/v1/decisions", asked)
    if output == "json":
        echo_json(answer)
    else:
        _show(answer)
    if _verdict(answer) == "denied":
        context.exit(DENIED_EXIT_CODE)


def _page_request(origin: str, method: str, headers: Sequence[str]) -> dict[str, Any]:
    """What a browser sends first for a page's request."""
    names = unsafe_names((name.strip(), "") for name in headers)
    if not needs_preflight(method, names):
        return {"method": normalized_method(method), "headers": {"Origin": origin}}
    return {"method": "OPTIONS", "headers": preflight_headers(origin, method, names)}


def _read(file: BinaryIO) -> str:
    pasted = file.read(MAX_PASTED_BYTES + 1)
    if len(pasted) > MAX_PASTED_BYTES:
        raise click.UsageError(
            f"The pasted request is larger than {MAX_PASTED_BYTES} bytes: filter the network panel down to it and "
            "copy again."
        )
    # As PowerShell writes files.
    is_utf_16 = pasted.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return pasted.decode("utf-16" if is_utf_16 else "utf-8", "replace")


def _verdict(answer: Mapping[str, Any]) -> str:
    if answer["allowed"]:
        return "allowed"
    return "not subject to CORS" if answer["reason"] == "no_origin" else "denied"


def _show(answer: Mapping[str, Any]) -> None:
    verdict = _verdict(answer)
    reason = f" ({answer['reason']})" if verdict == "denied" else ""
    echo(verdict + reason, colour="red" if verdict == "denied" else "green")
    echo(answer["message"])
    for near in answer["near_misses"][1:]:
        echo(near["message"])
    echo()
    decided_on = answer["decided_on"]
    if decided_on["read_from"] is not None:
        echo(f"read from: {decided_on['read_from']}")
        echo(f"decided on: {_request_line(decided_on)}")
    if answer["policy"] is not None:
        by = f" by {answer['pattern']}" if answer["pattern"] else ""
        echo(f"origin allowed{by}, policy {answer['policy']['service']} of {answer['policy']['tenant']}")
    echo("response" + (f" {answer['status']}" if answer["status"] else ", from the service's app") + ", with:")
    for name, value in answer["headers"]:
        echo(f"  {name}: {value}")


def _request_line(decided_on: Mapping[str, Any]) -> str:
    parts = [decided_on["method"]]
    for words, name in (("from", "origin"), ("for", "requested_method"), ("with", "requested_headers")):
        if decided_on[name] is not None:
            parts.append(f"{words} {decided_on[name]}")
    return " ".join(parts)
