"""`corspolicy probe`"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click

from corspolicy.core.validation import check
from policy_service.cli.probe import judge, sending
from policy_service.cli.probe.findings import findings
from policy_service.cli.probe.judge import Page
from policy_service.cli.probe.policy import expected
from policy_service.cli.probe.report import Report
from policy_service.cli.probe.safelists import Line
from policy_service.cli.probe.urls import parse
from policy_service.cli.shared.api import Api
from policy_service.cli.shared.arguments import service_option, tenant_option
from policy_service.cli.shared.output import echo_json, echo_lines, output_option

DENIED = 3
FAULT = 4
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+", re.ASCII)
_DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443", re.ASCII)
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*", re.ASCII)


@click.command()
@click.argument("url")
@click.option("--origin", required=True, help="The origin of the page, such as https://app.example.com.")
@click.option("--method", default="GET", show_default=True, help="The method of the page's request.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the page's; repeatable.")
@click.option(
    "--credentials", is_flag=True, help="As with credentials: 'include'; a Cookie is sent if --header gives one."
)
@click.option("--preflight-only", is_flag=True, help="Do not send the actual request.")
@tenant_option("tenant", help="Compare with what this tenant's policy means; needs CORSPOLICY_API_KEY.")
@service_option
@output_option
def probe(
    url: str,
    origin: str,
    method: str,
    headers: Sequence[str],
    credentials: bool,
    preflight_only: bool,
    tenant: str | None,
    service: str,
    output: str,
) -> None:
    """Say whether a browser lets a page from ORIGIN call URL, by sending what the browser would send.

    That is the preflight, where one is needed, and the actual request, which has its effect: a DELETE deletes, unless
    you pass --preflight-only. What only reads is sent once more from another origin, to see whether responses vary.
    With --tenant and --service, the result is compared with the policy.

    Exit codes: 0, allowed; 3, denied; 4, allowed or denied, but not as the policy says, or with a fault on the way;
    1, wrong usage or no response.
    """
    page = _page(url, origin, method, headers, credentials=credentials)
    if preflight_only and not judge.needs_preflight(page):
        raise click.UsageError("Browsers send no preflight for this request: leave out --preflight-only.")
    found = None
    if tenant is not None:
        with Api.from_environment() as api:
            found = expected(api, tenant, service, judge.fetch(page, preflight_only=preflight_only))
    try:
        observed = sending.observe(page, preflight_only=preflight_only)
    except sending.NoAnswer as error:
        raise click.ClickException(str(error)) from error
    all_findings = findings(observed.verdict, observed.other, None if found is None else found[0])
    report = Report(observed.verdict, observed.other, all_findings, found)
    if output == "json":
        echo_json(report.to_json())
    else:
        echo_lines("\n".join(report.to_text()))
    if report.has_fault:
        sys.exit(FAULT)
    sys.exit(0 if observed.verdict.allowed else DENIED)


def _page(url: str, origin: str, method: str, headers: Sequence[str], *, credentials: bool) -> Page:
    parsed = parse(url)
    if parsed is None or parsed.scheme not in ("http", "https"):
        raise click.UsageError("Invalid URL: pass one such as https://api.example.com/invoices.")
    if parsed.userinfo:
        raise click.UsageError("The URL has a user name or password, which browsers reject: pass --header instead.")
    if origin != "null" and (_ORIGIN.fullmatch(origin) is None or _DEFAULT_PORT.fullmatch(origin)):
        raise click.UsageError(
            f"Invalid origin {origin!r}: pass it as browsers send it, scheme://host or scheme://host:port, in lower "
            "case, without a path or a default port."
        )
    lines = [_line(number, text) for number, text in enumerate(headers, 1)]
    cookies = [value for name, value in lines if name.lower() == "cookie"]
    if cookies and not credentials:
        raise click.UsageError("Browsers send cookies to another origin only with credentials: add --credentials.")
    lines = [(name, value) for name, value in lines if name.lower() != "cookie"]
    checked = check({"allow_origins": [], "allow_methods": [method], "allow_headers": [name for name, _ in lines]})
    for problem in checked.errors:
        given = f"--method {method!r}" if problem.pointer.startswith("/allow_methods") else "--header"
        raise click.UsageError(f"Invalid {given}: {problem.message}")
    assert checked.policy is not None
    cookie = "; ".join(cookies) if cookies else None
    # Normalized, as the policy stores it (Fetch, section 2.2.1).
    return Page(url, origin, checked.policy.allow_methods[0], tuple(lines), credentials, cookie)


def _line(number: int, text: str) -> Line:
    parts = _HEADER.fullmatch(text)
    if parts is None or any(ord(character) > 255 for character in text):
        # Not quoted: it may be a secret.
        raise click.UsageError(f"Invalid --header number {number}: write it as 'Name: value'.")
    return parts[1], parts[2]
