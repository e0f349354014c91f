"""From a CORSMiddleware to the policy that means the same."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.middleware.cors import CORSMiddleware

from corspolicy.core.patterns import ANY
from corspolicy.core.policy import MAX_AGE_LIMIT
from corspolicy.core.validation import check
from policy_service.cli.cors_import import expressed, listed_origins
from policy_service.cli.cors_import.findings import Equivalent, Nearest
from policy_service.documents.domains import is_public_suffix

# A policy allows these, listed or not.
_ALWAYS_ALLOWED = ("GET", "HEAD", "POST")
_NORMALIZED = ("DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT")
_DECIDING = (
    "__call__",
    "allow_explicit_origin",
    "is_allowed_origin",
    "preflight_response",
    "send",
    "simple_response",
)
_FLAG_OF_CODE = {
    "origin_insecure": "dangerously_allow_insecure_origins",
    "origin_public_suffix": "dangerously_allow_public_suffixes",
}


def equivalent(middleware: CORSMiddleware, nearest: Nearest | None = None) -> Equivalent:
    """The policy that means the same as a middleware.

    Where there is none, the nearest one: the narrower, unless `nearest` is WIDER and there is a wider one.
    """
    found = Equivalent(nearest)
    own = [name for name in _DECIDING if getattr(type(middleware), name) is not getattr(CORSMiddleware, name)]
    if own:
        # What it allows may be less than what its settings say.
        kind = type(middleware).__name__
        found.left_out.append(
            f"{kind} decides with code of its own ({', '.join(own)}). Write the policy that it means."
        )
        return found
    credentials = "Access-Control-Allow-Credentials" in middleware.simple_headers
    _origins(found, middleware, credentials)
    if credentials:
        found.values["allow_credentials"] = True
        _flags(found)
    _methods(found, middleware)
    _headers(found, middleware, credentials)
    _exposed(found, middleware, credentials)
    _max_age(found, middleware)
    if getattr(middleware, "allow_private_network", False):
        found.notes.append("allow_private_network is left out: browsers no longer ask for what it grants.")
    return found


def _origins(found: Equivalent, middleware: CORSMiddleware, credentials: bool) -> None:
    patterns = dict[str, None]()
    if middleware.allow_all_origins:
        patterns[ANY] = None
    if not middleware.allow_all_origins or credentials:
        patterns |= dict.fromkeys(_listed(found, middleware))
    if ANY in patterns and credentials:
        del patterns[ANY]
        found.leave_out(
            "allow_credentials with every origin: any site that a user visits can act as that user. List the origins, "
            "or turn allow_credentials off."
        )
    if patterns:
        found.values["allow_origins"] = [ANY] if ANY in patterns else list(patterns)


def _listed(found: Equivalent, middleware: CORSMiddleware) -> Iterable[str]:
    origins = middleware.allow_origins
    if middleware.allow_all_origins:
        origins = [] if isinstance(origins, str) else [origin for origin in origins if origin != ANY]
    yield from listed_origins.patterns_of(origins, found)
    if middleware.allow_origin_regex is not None:
        yield from expressed.patterns_of(middleware.allow_origin_regex, found)


def _flags(found: Equivalent) -> None:
    checked = check(found.values, is_public_suffix=is_public_suffix)
    for flag in sorted({_FLAG_OF_CODE[error.code] for error in checked.errors if error.code in _FLAG_OF_CODE}):
        found.values[flag] = True
        found.notes.append(f"{flag} is set, because the application allows it: check whether it has to.")


def _methods(found: Equivalent, middleware: CORSMiddleware) -> None:
    said = _names(middleware.preflight_headers["Access-Control-Allow-Methods"])
    missing = [method for method in _ALWAYS_ALLOWED if method not in said]
    if missing:
        found.notes.append(
            f"allow_methods: {', '.join(missing)} will be allowed as well. A policy always allows GET, HEAD and POST, "
            "which browsers send without asking."
        )
    if _is_spelled(said):
        _tell_of_text(found, "allow_methods")
        return
    kept = []
    for method in said:
        if method not in middleware.allow_methods:
            found.notes.append(f"allow_methods: {method!r} is left out: it is not an entry of its own.")
        elif method.upper() in _NORMALIZED and method != method.upper():
            found.notes.append(f"allow_methods: {method!r} is left out: browsers send {method.upper()}.")
        elif method not in _ALWAYS_ALLOWED:
            kept.append(method)
    _take(found, "allow_methods", kept)


def _headers(found: Equivalent, middleware: CORSMiddleware, credentials: bool) -> None:
    if middleware.allow_all_headers:
        # Without credentials, `*` does not cover Authorization; CORSMiddleware's does.
        found.values["allow_headers"] = ["*"] if credentials else ["*", "authorization"]
        return
    names = list(middleware.allow_headers)
    letters = [name for name in names if len(name) == 1]
    if _is_spelled(letters):
        _tell_of_text(found, "allow_headers")
        names = [name for name in names if len(name) > 1]
    _take(found, "allow_headers", names)


def _exposed(found: Equivalent, middleware: CORSMiddleware, credentials: bool) -> None:
    names = _names(middleware.simple_headers.get("Access-Control-Expose-Headers", ""))
    if "*" in names and credentials:
        found.leave_out(
            "expose_headers: `*` with allow_credentials. Browsers then let pages read every header only of requests "
            "without credentials, such as those with a bearer token. List the headers that pages read."
        )
        names.remove("*")
    if _is_spelled(names):
        _tell_of_text(found, "expose_headers")
        names = []
    _take(found, "expose_headers", names)


def _take(found: Equivalent, setting: str, names: list[str]) -> None:
    """Put the names into the policy, except those that do nothing."""
    kept = []
    for name in names:
        checked = check({setting: [name]})
        if checked.policy is None:
            found.notes.append(f"{setting}: {name!r} does nothing and is left out. {checked.errors[0].message}")
        else:
            kept.append(name)
    if kept:
        found.values[setting] = kept


def _max_age(found: Equivalent, middleware: CORSMiddleware) -> None:
    said = middleware.preflight_headers["Access-Control-Max-Age"].strip()
    if re.fullmatch(r"-?\d{1,18}", said, re.ASCII) is None:
        found.notes.append(f"max_age: {said} is not a whole number of seconds: browsers ignore it, and it is left out.")
        return
    found.values["max_age"] = min(max(int(said), 0), MAX_AGE_LIMIT)
    if found.values["max_age"] != int(said):
        found.notes.append(f"max_age: browsers read {said} as {found.values['max_age']}.")


def _names(value: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def _is_spelled(names: list[str]) -> bool:
    """Whether the names are the characters of a text."""
    return len(names) > 1 and all(len(name) == 1 for name in names)


def _tell_of_text(found: Equivalent, setting: str) -> None:
    found.notes.append(
        f"{setting} is a text, not a list: browsers read its single characters as names. It is left out."
    )
