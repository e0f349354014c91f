"""Faults between a page and a policy, found in what was sent and received: each with a code and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from policy_service.cli.probe.checks import ALLOW_CREDENTIALS, ALLOW_ORIGIN, EXPOSE_HEADERS, REDIRECT_STATUSES
from policy_service.cli.probe.judge import Exchange, Reason, Response, Verdict
from policy_service.cli.probe.urls import parse, without_query

_CACHE_HEADERS = ("x-cache", "cf-cache-status", "x-cache-status", "x-vercel-cache", "x-proxy-cache")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong (a fault), or that is good to know."""

    code: str
    message: str
    is_fault: bool = True


def findings(verdict: Verdict, other: Exchange | None, expected: Verdict | None) -> list[Finding]:
    """All findings. `other` is a request again from another origin; `expected`, what the policy means for the page."""
    return [
        *_repeated(verdict),
        *_preflights(verdict),
        *_errors(verdict, expected),
        *_redirects(verdict),
        *_caches(verdict, other, expected),
        *_reflected(other),
        *_differences(verdict, expected),
    ]


def _repeated(verdict: Verdict) -> Iterator[Finding]:
    for exchange in verdict.exchanges:
        for name in (ALLOW_ORIGIN, ALLOW_CREDENTIALS):
            lines = exchange.response.lines(name)
            if len(lines) > 1 or any("," in line for line in lines):
                yield Finding(
                    "header_repeated",
                    f"The response to {exchange.request.method} has {name} more than once ({' and '.join(lines)}): the "
                    "application and something in front of it, such as a proxy's add_header, both set it. Let only one "
                    "of them do so.",
                )
                return


def _preflights(verdict: Verdict) -> Iterator[Finding]:
    for exchange in verdict.exchanges:
        if exchange.request.is_preflight:
            yield from _preflight(exchange.response)


def _preflight(response: Response) -> Iterator[Finding]:
    status = response.status
    if status in (401, 407):
        yield Finding(
            "preflight_unauthorized",
            f"Authentication answers the preflight with {status}. Browsers send preflights without credentials: put "
            "CORS ahead of authentication, or exempt OPTIONS from it.",
        )
    elif status == 404:
        yield Finding(
            "preflight_not_found",
            "The preflight gets 404: a router or gateway without a route for OPTIONS answers it, not the CORS layer. "
            "Route OPTIONS to the service, and check the path.",
        )
    elif status in (405, 501):
        yield Finding(
            "preflight_method_not_allowed",
            f"The preflight gets {status}: a gateway or the application answers OPTIONS itself, not the CORS layer. "
            "Let OPTIONS through to it.",
        )
    elif status >= 500:
        yield Finding(
            "preflight_server_error",
            f"The preflight gets {status}: the service or a proxy in front of it fails. Look in its log; this is not "
            "about a policy.",
        )
    elif status < 300 and response.get(ALLOW_ORIGIN) is None and _is_html(response):
        yield Finding(
            "preflight_answered_with_page",
            f"The preflight gets {status} with an HTML page: a web server or a login page answers OPTIONS, not the "
            "CORS layer. Route OPTIONS to the service.",
        )


def _errors(verdict: Verdict, expected: Verdict | None) -> Iterator[Finding]:
    if not verdict.exchanges or (expected is not None and not expected.allowed):
        return
    last = verdict.exchanges[-1]
    status = last.response.status
    # Without a preflight that was allowed, a 4xx may well be what a denied origin gets.
    is_certain = status >= 500 or any(exchange.request.is_preflight for exchange in verdict.exchanges)
    if not last.request.is_preflight and status >= 400 and last.response.get(ALLOW_ORIGIN) is None and is_certain:
        yield Finding(
            "error_without_cors",
            f"The response to {last.request.method} is an error, {status}, without Access-Control-Allow-Origin: the "
            "browser's console says CORS, but the fault is the error. It comes from outside of the CORS layer: from a "
            "proxy, or from an error handler around it.",
        )


def _redirects(verdict: Verdict) -> Iterator[Finding]:
    for exchange in verdict.exchanges:
        location = exchange.response.get("location")
        if exchange.response.status not in REDIRECT_STATUSES or location is None:
            continue
        source = httpx.URL(exchange.request.url)
        target = parse(location, source)
        what = "preflight" if exchange.request.is_preflight else exchange.request.method
        is_upgrade = target is not None and (source.scheme, target.scheme) == ("http", "https")
        same_host = target is not None and source.host == target.host
        code = "http_to_https" if is_upgrade and same_host else "redirect"
        if exchange.request.is_preflight:
            effect = "Browsers never follow the redirect of a preflight."
        elif verdict.allowed:
            effect = "The browser follows, and the page may read the response."
        elif verdict.exchanges[-1].request.origin != exchange.request.origin:
            effect = "After a redirect to another origin the browser sends `Origin: null`, which policies do not list."
        else:
            effect = "The browser follows, and denies what it gets there."
        advice = (
            "Have the page call the https address." if code == "http_to_https" else "Have the page call the final one."
        )
        yield Finding(
            code,
            f"The {what} to {without_query(exchange.request.url)} is redirected ({exchange.response.status}) to "
            f"{'an invalid URL' if target is None else without_query(str(target))}. {effect} {advice}",
            is_fault=not verdict.allowed,
        )


def _caches(verdict: Verdict, other: Exchange | None, expected: Verdict | None) -> Iterator[Finding]:
    for exchange in verdict.exchanges:
        allowed = exchange.response.get(ALLOW_ORIGIN)
        evidence = _cache_evidence(exchange.response)
        if not evidence or exchange.request.is_preflight or allowed in ("*", exchange.request.origin):
            continue
        # Without the policy nobody knows whether what was stored is not just the right denial.
        is_certain = allowed is not None or (expected is not None and expected.allowed)
        yield _cached(exchange, allowed, evidence, is_fault=is_certain)
    if other is None or other.request.is_preflight:
        return
    own = next(
        exchange
        for exchange in verdict.exchanges
        if not exchange.request.is_preflight and exchange.request.url == other.request.url
    )
    mine, theirs = own.response.get(ALLOW_ORIGIN), other.response.get(ALLOW_ORIGIN)
    evidence = _cache_evidence(other.response)
    if mine == theirs == own.request.origin and evidence:
        yield _cached(other, theirs, evidence, is_fault=True)
    if mine != theirs:
        if not _is_varied(own.response):
            yield _vary_missing(own, is_fault=True)
        elif not _is_varied(other.response):
            yield _vary_missing(other, is_fault=False)


def _cached(exchange: Exchange, allowed: str | None, evidence: str, *, is_fault: bool) -> Finding:
    made_for = "without Access-Control-Allow-Origin" if allowed is None else f"made for {allowed}"
    return Finding(
        "cached_answer",
        f"A cache ({evidence}) answers the request from {exchange.request.origin} with a stored response {made_for}. "
        "Have the service send `Vary: Origin` and the cache obey it, or do not cache these responses.",
        is_fault=is_fault,
    )


def _is_varied(response: Response) -> bool:
    """Whether no cache gives the response to another origin."""
    members = {member.lower() for member in response.listed("vary") or ()}
    directives = {part.strip().lower() for part in (response.get("cache-control") or "").split(",")}
    return bool(members & {"origin", "*"}) or "no-store" in directives


def _vary_missing(exchange: Exchange, *, is_fault: bool) -> Finding:
    return Finding(
        "vary_origin_missing",
        f"Responses differ by origin, but the response to {exchange.request.origin} has no `Vary: Origin`: a cache may "
        "give it to another origin.",
        is_fault=is_fault,
    )


def _reflected(other: Exchange | None) -> Iterator[Finding]:
    if other is not None and other.response.get(ALLOW_ORIGIN) == other.request.origin:
        has_credentials = other.response.get(ALLOW_CREDENTIALS) == "true"
        meaning = "with credentials: any website may act as your users" if has_credentials else "as `*` would"
        yield Finding(
            "any_origin_allowed",
            f"The response allows any origin, {meaning}: it repeated {other.request.origin}, which nobody lists.",
            is_fault=has_credentials,
        )


def _differences(verdict: Verdict, expected: Verdict | None) -> Iterator[Finding]:
    if expected is None or verdict.reason in (Reason.SAME_ORIGIN, Reason.MIXED_CONTENT):
        return
    if verdict.allowed != expected.allowed:
        means, found = ("allows", "denied") if expected.allowed else ("denies", "allowed")
        yield Finding(
            "not_as_policy",
            f"The policy {means} this request, but at the address it is {found}. Check the other findings, `corspolicy "
            "fleet`, and that this tenant and service answer at the address.",
        )
    for ours, theirs in zip(expected.exchanges, verdict.exchanges, strict=False):
        changed = _changed(ours, theirs)
        if changed:
            what = "preflight" if theirs.request.is_preflight else theirs.request.method
            text = f"The response to the {what} does not have the headers that the policy gives: {'; '.join(changed)}."
            yield Finding("headers_not_as_policy", text)


def _changed(ours: Exchange, theirs: Exchange) -> list[str]:
    """How the CORS headers of a response differ from those that the policy gives.

    What a preflight lists may be more: a service that learns the tenant late answers it for all tenants.
    """
    is_preflight = theirs.request.is_preflight
    if ours.request.url != theirs.request.url or ours.request.is_preflight != is_preflight:
        return []
    names = (ALLOW_ORIGIN, ALLOW_CREDENTIALS) if is_preflight else (ALLOW_ORIGIN, ALLOW_CREDENTIALS, EXPOSE_HEADERS)
    pairs = [(name, ours.response.get(name), theirs.response.get(name)) for name in names]
    return [
        f"{name} is {'missing' if found is None else found} instead of {'absent' if given is None else given}"
        for name, given, found in pairs
        if given != found
    ]


def _cache_evidence(response: Response) -> str | None:
    """What says that a response is from a shared cache."""
    age = response.get("age")
    if age is not None and age.isdigit() and int(age) > 0:
        return f"age: {age}"
    for name in _CACHE_HEADERS:
        value = response.get(name)
        if value is not None and "hit" in value.lower():
            return f"{name}: {value}"
    return None


def _is_html(response: Response) -> bool:
    return (response.get("content-type") or "").lower().startswith(("text/html", "application/xhtml"))
