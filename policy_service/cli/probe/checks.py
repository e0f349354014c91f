"""The checks that a browser makes on one response: CORS check, preflight, exposed headers (Fetch standard). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from corspolicy.core.http_names import is_token
from policy_service.cli.probe.safelists import (
    FORBIDDEN_RESPONSE_HEADERS,
    NON_WILDCARD_REQUEST_HEADERS,
    SAFELISTED_METHODS,
    SAFELISTED_RESPONSE_HEADERS,
    Line,
    unsafe_request_header_names,
)

REDIRECT_STATUSES = frozenset((301, 302, 303, 307, 308))
ALLOW_ORIGIN = "access-control-allow-origin"
ALLOW_CREDENTIALS = "access-control-allow-credentials"
EXPOSE_HEADERS = "access-control-expose-headers"


class Reason(StrEnum):
    """Why a page may read the response, or may not."""

    ALLOWED = "allowed"
    SAME_ORIGIN = "same_origin"
    MIXED_CONTENT = "mixed_content"
    ALLOW_ORIGIN_MISSING = "allow_origin_missing"
    ALLOW_ORIGIN_REPEATED = "allow_origin_repeated"
    ALLOW_ORIGIN_OTHER = "allow_origin_other"
    ALLOW_ORIGIN_WILDCARD = "allow_origin_wildcard"
    ALLOW_CREDENTIALS_MISSING = "allow_credentials_missing"
    PREFLIGHT_STATUS = "preflight_status"
    PREFLIGHT_MALFORMED = "preflight_malformed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HEADERS_NOT_ALLOWED = "headers_not_allowed"
    REDIRECT_INVALID = "redirect_invalid"
    TOO_MANY_REDIRECTS = "too_many_redirects"


@dataclass(frozen=True, slots=True)
class Response:
    """The head of a response: its status and all header lines, as they came."""

    status: int
    headers: tuple[Line, ...] = ()

    def lines(self, name: str) -> list[str]:
        """The values of all lines of a header."""
        return [value.strip(" \t") for key, value in self.headers if key.lower() == name]

    def get(self, name: str) -> str | None:
        """A header's value, its lines joined by a comma (Fetch, section 2.2.2: "get"); None if there is no line."""
        lines = self.lines(name)
        return ", ".join(lines) if lines else None

    def listed(self, name: str) -> list[str] | None:
        """The members of a list of tokens, none if there is no line (Fetch, section 2.2.2: "extract header list
        values"); None if the list is malformed."""
        members = [text for part in (self.get(name) or "").split(",") if (text := part.strip(" \t"))]
        return members if all(is_token(member.encode()) for member in members) else None


@dataclass(frozen=True, slots=True)
class Denial:
    """A check that failed; `message` follows the name of what was checked."""

    reason: Reason
    message: str


def cors_check(origin: str, response: Response, *, credentials: bool) -> Denial | None:
    """The CORS check (Fetch, section 4.10) of a response to a request from the serialized `origin`."""
    lines = response.lines(ALLOW_ORIGIN)
    allowed = response.get(ALLOW_ORIGIN)
    if allowed is None:
        return Denial(Reason.ALLOW_ORIGIN_MISSING, "has no Access-Control-Allow-Origin.")
    if not credentials and allowed == "*":
        return None
    if allowed != origin:
        if len(lines) > 1:
            values = " and ".join(lines)
            repeated = f"has {len(lines)} lines of Access-Control-Allow-Origin, {values}: browsers accept only one."
            return Denial(Reason.ALLOW_ORIGIN_REPEATED, repeated)
        if "," in allowed:
            repeated = f"has several values in Access-Control-Allow-Origin, {allowed}: browsers accept only one."
            return Denial(Reason.ALLOW_ORIGIN_REPEATED, repeated)
        if allowed == "*":
            wildcard = "has Access-Control-Allow-Origin: *, which browsers do not accept with credentials."
            return Denial(Reason.ALLOW_ORIGIN_WILDCARD, wildcard)
        return Denial(Reason.ALLOW_ORIGIN_OTHER, f"allows {allowed or 'an empty origin'}, but the origin is {origin}.")
    said = response.get(ALLOW_CREDENTIALS)
    if not credentials or said == "true":
        return None
    found = "no Access-Control-Allow-Credentials" if said is None else f"Access-Control-Allow-Credentials: {said}"
    return Denial(Reason.ALLOW_CREDENTIALS_MISSING, f"has {found}; with credentials, browsers require exactly `true`.")


def preflight_check(
    origin: str, method: str, headers: tuple[Line, ...], response: Response, *, credentials: bool
) -> Denial | None:
    """What follows from a preflight's response (Fetch, section 4.8, from step 7): for a request with `method` and the
    page's `headers`."""
    if not 200 <= response.status <= 299:
        bare = " and no Access-Control-Allow-Origin" if response.get(ALLOW_ORIGIN) is None else ""
        moved = ", and never follow its redirect" if response.status in REDIRECT_STATUSES else ""
        accepted = f"browsers accept only 200 to 299 for a preflight{moved}"
        return Denial(Reason.PREFLIGHT_STATUS, f"has status {response.status}{bare}; {accepted}.")
    denial = cors_check(origin, response, credentials=credentials)
    if denial is not None:
        return denial
    methods = response.listed("access-control-allow-methods")
    names = response.listed("access-control-allow-headers")
    if methods is None or names is None:
        which = "Methods" if methods is None else "Headers"
        return Denial(Reason.PREFLIGHT_MALFORMED, f"has an Access-Control-Allow-{which} that is not a list of tokens.")
    any_method, any_name = ("*" in listed and not credentials for listed in (methods, names))
    literal = " (with credentials, `*` is not a wildcard)" if credentials else ""
    if not (method in methods or method in SAFELISTED_METHODS or any_method):
        hint = literal if "*" in methods else ""
        return Denial(Reason.METHOD_NOT_ALLOWED, f"does not list {method} in Access-Control-Allow-Methods{hint}.")
    allowed = {name.lower() for name in names}
    missing = [
        name
        for name in unsafe_request_header_names(headers)
        if name not in allowed and (name in NON_WILDCARD_REQUEST_HEADERS or not any_name)
    ]
    if missing:
        hint = (
            (literal or " (by the standard `*` does not include Authorization; some browsers still let it pass)")
            if "*" in names
            else ""
        )
        text = f"does not list {', '.join(missing)} in Access-Control-Allow-Headers{hint}."
        return Denial(Reason.HEADERS_NOT_ALLOWED, text)
    return None


def readable_headers(response: Response, *, credentials: bool) -> tuple[str, ...]:
    """The headers of a CORS filtered response: the CORS-safelisted response-header names among those that it has
    (Fetch, sections 2.2.6 and 4.1)."""
    exposed = {name.lower() for name in response.listed(EXPOSE_HEADERS) or ()}
    is_any = "*" in exposed and not credentials
    names = {name.lower() for name, _ in response.headers} - FORBIDDEN_RESPONSE_HEADERS
    return tuple(sorted(name for name in names if is_any or name in SAFELISTED_RESPONSE_HEADERS | exposed))
