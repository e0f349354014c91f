"""Finds the CORSMiddleware of an application, and says as a policy what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from corspolicy.core.origins import Origin
from corspolicy.core.patterns import ANY, InvalidOrigin, OriginPattern
from corspolicy.core.policy import MAX_AGE_LIMIT
from corspolicy.core.validation import check
from policy_service.cli.cors_import.regexes import Untranslatable, translate
from policy_service.documents.domains import is_public_suffix, to_ascii

_MAX_DEPTH = 50
# With corspolicy, as in browsers, these need not be listed.
_ALWAYS_ALLOWED = ("GET", "HEAD", "POST")
_NORMALIZED = ("DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT")
_FLAG_OF_CODE = {
    "origin_insecure": "dangerously_allow_insecure_origins",
    "origin_public_suffix": "dangerously_allow_public_suffixes",
}


class Found(NamedTuple):
    """A CORSMiddleware, and where it stands."""

    where: str
    middleware: CORSMiddleware


@dataclass
class Equivalent:
    """The policy that means the same; what is worth knowing; what no policy can say, which is left out of it."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def find(app: object, where: str = "the application", depth: int = 0) -> Iterator[Found]:
    """Every CORSMiddleware of an application: added to it, wrapped around it, or of what is mounted in it."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(app, CORSMiddleware):
        yield Found(where, app)
    if not isinstance(app, Starlette):
        if hasattr(app, "app"):
            yield from find(app.app, where, depth + 1)
        return
    for added in app.user_middleware:
        if isinstance(added.cls, type) and issubclass(added.cls, CORSMiddleware):
            make: Callable[..., CORSMiddleware] = added.cls
            yield Found(where, make(_nothing, *added.args, **added.kwargs))
    for route in app.routes:
        if isinstance(route, Mount):
            yield from find(route.app, f"what is mounted at {route.path or '/'}", depth + 1)


def equivalent(middleware: CORSMiddleware) -> Equivalent:
    """The policy that means the same as that middleware."""
    found = Equivalent()
    if type(middleware).is_allowed_origin is not CORSMiddleware.is_allowed_origin:
        name = type(middleware).__name__
        found.refusals.append(f"{name} decides on origins with code of its own. List the origins that it allows.")
    credentials = "Access-Control-Allow-Credentials" in middleware.simple_headers
    _origins(found, middleware, credentials)
    if credentials:
        found.values["allow_credentials"] = True
        _flags(found)
    _methods(found, middleware)
    _headers(found, middleware, credentials)
    _exposed(found, middleware)
    _max_age(found, middleware)
    if getattr(middleware, "allow_private_network", False):
        found.notes.append("allow_private_network: browsers have given up what this header granted; it is not sent.")
    return found


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands where a middleware that is only looked at wants an application."""


def _origins(found: Equivalent, middleware: CORSMiddleware, credentials: bool) -> None:
    patterns: dict[str, None] = {}
    if middleware.allow_all_origins:
        patterns[ANY] = None
    else:
        for origin in middleware.allow_origins:
            if origin == "null":
                found.refusals.append("allow_origins: `null` is what any sandboxed page sends. Take it out.")
            elif Origin.parse(origin.encode("utf-8", "surrogatepass")) is not None:
                patterns[origin] = None
            else:
                found.notes.append(f"allow_origins: {origin!r} admits nobody and is left out. {_why(origin)}")
        expression = middleware.allow_origin_regex
        try:
            patterns |= dict.fromkeys(() if expression is None else translate(expression.pattern))
        except Untranslatable as error:
            assert expression is not None
            found.refusals.append(f"allow_origin_regex {expression.pattern!r}: {error}")
    if ANY in patterns and credentials:
        del patterns[ANY]
        found.refusals.append(
            "allow_credentials with every origin: any site that a user visits may act as that user. List the origins, "
            "or turn allow_credentials off."
        )
    if patterns:
        found.values["allow_origins"] = [ANY] if ANY in patterns else list(patterns)


def _why(origin: str) -> str:
    try:
        OriginPattern.parse(origin, to_ascii)
    except InvalidOrigin as error:
        return error.message + (f" If it is meant, admit {error.suggestion}." if error.suggestion else "")
    return "CORSMiddleware knows no wildcards here; corspolicy does, so admit it if it is meant."


def _flags(found: Equivalent) -> None:
    checked = check(found.values, is_public_suffix=is_public_suffix)
    for flag in {_FLAG_OF_CODE[it.code] for it in checked.errors if it.code in _FLAG_OF_CODE}:
        found.values[flag] = True
        found.notes.append(f"{flag} is set, as the application allows it: see whether it has to.")


def _methods(found: Equivalent, middleware: CORSMiddleware) -> None:
    listed = list(middleware.allow_methods)
    missing = [method for method in _ALWAYS_ALLOWED if method not in listed]
    if missing:
        names = ", ".join(missing)
        found.notes.append(f"allow_methods: {names} will pass, too. Browsers ask no permission for these methods.")
    kept = []
    for method in listed:
        if method.upper() in _NORMALIZED and method != method.upper():
            found.notes.append(f"allow_methods: {method!r} is left out: browsers send {method.upper()}.")
        elif method not in _ALWAYS_ALLOWED:
            kept.append(method)
    _take(found, "allow_methods", kept)


def _headers(found: Equivalent, middleware: CORSMiddleware, credentials: bool) -> None:
    if middleware.allow_all_headers:
        # Without credentials, `*` does not cover Authorization; CORSMiddleware's does.
        found.values["allow_headers"] = ["*"] if credentials else ["*", "authorization"]
    else:
        _take(found, "allow_headers", list(middleware.allow_headers))


def _exposed(found: Equivalent, middleware: CORSMiddleware) -> None:
    names = middleware.simple_headers.get("Access-Control-Expose-Headers", "")
    _take(found, "expose_headers", [name.strip() for name in names.split(",") if name.strip()])


def _take(found: Equivalent, setting: str, names: list[str]) -> None:
    """Put the names into the policy, but for those that it can't have."""
    flags = {name: value for name, value in found.values.items() if name == "allow_credentials"}
    kept = []
    for name in names:
        checked = check({**flags, setting: [name]})
        if checked.policy is not None:
            kept.append(name)
            continue
        error = checked.errors[0]
        if error.code in ("header_response_only", "header_request_only"):
            found.refusals.append(f"{setting}: {error.message} Take it out.")
        else:
            found.notes.append(f"{setting}: {name!r} is left out, as it does nothing. {error.message}")
    if kept:
        found.values[setting] = kept


def _max_age(found: Equivalent, middleware: CORSMiddleware) -> None:
    said = int(middleware.preflight_headers["Access-Control-Max-Age"])
    found.values["max_age"] = min(max(said, 0), MAX_AGE_LIMIT)
    if found.values["max_age"] != said:
        found.notes.append(f"max_age: {said} is {found.values['max_age']} to every browser.")
