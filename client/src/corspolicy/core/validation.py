"""Whether values make a policy: every error at once, each with a code, a pointer, a message, a suggestion.

The rules are those of the Fetch standard (sections 2.2 and 3.3) and of what browsers can send at all; where
this refuses more than they do, it is because the value grants more than its author can have meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from corspolicy.core.origins import ANY, InvalidOrigin, Origin, OriginPattern, candidates, is_valid_domain
from corspolicy.core.policy import MAX_AGE_LIMIT, SETTINGS, Flag, OriginEntry, Policy

SHORTEST_BROWSER_CAP = 600
MAX_NOTE_LENGTH = 500
MAX_REPORTED = 100
MAX_COVER_CHECKS = 1_000
# A time with its zone (RFC 3339, section 5.6). Python reads more than that: weeks, spaces, no separators.
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

_TCHAR = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NORMALIZED_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"))
_FORBIDDEN_METHODS = frozenset(("CONNECT", "TRACE", "TRACK"))
_FORBIDDEN_REQUEST_HEADERS = frozenset(
    (
        "accept-charset", "accept-encoding", "access-control-request-headers", "access-control-request-method",
        "access-control-request-private-network", "connection", "content-length", "cookie", "cookie2", "date",
        "dnt", "expect", "host", "keep-alive", "origin", "referer", "set-cookie", "te", "trailer",
        "transfer-encoding", "upgrade", "via",
    )
)  # fmt: skip
_RESPONSE_ONLY_CORS_HEADERS = frozenset(
    (
        "access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods",
        "access-control-allow-origin", "access-control-allow-private-network", "access-control-expose-headers",
        "access-control-max-age",
    )
)  # fmt: skip
_REQUEST_ONLY_HEADERS = frozenset(
    (
        "accept-charset", "accept-language", "access-control-request-headers",
        "access-control-request-method", "access-control-request-private-network", "authorization", "cookie",
        "cookie2", "dnt", "expect", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
        "if-unmodified-since", "max-forwards", "origin", "proxy-authorization", "range", "referer", "te",
        "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "upgrade-insecure-requests",
        "user-agent",
    )
)  # fmt: skip
_READ_ONLY_ENTRY_FIELDS = frozenset(("id", "created_at", "created_by"))
_FLAGS = tuple(name for name, setting in SETTINGS.items() if isinstance(setting.kind, Flag))


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why values are rejected or, as a warning, may not do what their author expects.

    `pointer` is a JSON pointer (RFC 6901) to the value.
    """

    code: str
    pointer: str
    message: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The policy, or None if there are errors, and the warnings either way."""

    policy: Policy | None
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def is_token(value: bytes) -> bool:
    """Whether `value` is a token (RFC 9110, section 5.6.2)."""
    return bool(value) and not value.translate(None, _TCHAR)


def check(
    values: object,
    *,
    to_ascii: Callable[[str], str] | None = None,
    is_public_suffix: Callable[[str], bool] | None = None,
) -> Checked:
    """Read the JSON values of a policy.

    `to_ascii(domain)` gives the A-label form of a domain and raises ValueError for a domain that has none;
    `is_public_suffix(domain)` tells whether strangers can register names under it. Both need data that a
    service which only applies policies should not carry; without them those two checks are left out.
    """
    return _Checker(to_ascii, is_public_suffix).check(values)


class _TooManyErrors(Exception):
    pass


class _Checker:
    def __init__(self, to_ascii: Callable[[str], str] | None, is_public_suffix: Callable[[str], bool] | None) -> None:
        self._to_ascii = to_ascii
        self._is_public_suffix = is_public_suffix
        self._problems: list[Finding] = []
        self._warnings: list[Finding] = []

    def check(self, values: object) -> Checked:
        try:
            return self._check(values)
        except _TooManyErrors:
            message = f"More than {MAX_REPORTED} errors; only the first {MAX_REPORTED} are listed."
            self._problems.append(Finding("too_many_errors", "", message))
            return self._result(None)

    def _check(self, values: object) -> Checked:
        if not isinstance(values, Mapping):
            self._problem("not_an_object", "", "A policy is a JSON object.")
            return self._result(None)
        for name in values:
            if name not in SETTINGS:
                message = f"Unknown setting. The settings are {', '.join(SETTINGS)}."
                self._problem("unknown_field", json_pointer(name), message)
        flags = {name: self._flag(values, name) for name in _FLAGS}
        credentials = flags["allow_credentials"]
        policy = Policy(
            allow_origins=self._origins(values, flags),
            allow_methods=self._methods(values),
            allow_headers=self._request_headers(values, credentials),
            expose_headers=self._exposed_headers(values, credentials),
            max_age=self._max_age(values),
            **flags,
        )
        return self._result(policy)

    def _result(self, policy: Policy | None) -> Checked:
        return Checked(None if self._problems else policy, tuple(self._problems), tuple(self._warnings))

    def _problem(self, code: str, pointer: str, message: str, suggestion: str | None = None) -> None:
        if len(self._problems) < MAX_REPORTED:
            self._problems.append(Finding(code, pointer, message, suggestion))
        else:
            raise _TooManyErrors

    def _warn(self, code: str, pointer: str, message: str, suggestion: str | None = None) -> None:
        if len(self._warnings) < MAX_REPORTED:
            self._warnings.append(Finding(code, pointer, message, suggestion))

    def _flag(self, values: Mapping[str, Any], name: str) -> bool:
        value = values.get(name, SETTINGS[name].default)
        if not isinstance(value, bool):
            self._problem("not_a_boolean", f"/{name}", f"{name} is true or false.")
            return False
        return value

    def _list(self, values: Mapping[str, Any], name: str) -> list[Any]:
        value = values.get(name, [])
        if not isinstance(value, list | tuple):
            is_item = isinstance(value, str) and self._accepts({**values, name: [value]}, name)
            suggestion = json.dumps([value], ensure_ascii=False) if is_item else None
            self._problem("not_a_list", f"/{name}", f"{name} is a list, even of one.", suggestion)
            return []
        return list(value)

    def _accepts(self, values: Mapping[str, Any], name: str) -> bool:
        """Whether the list `name` would be accepted, with the flags as they are."""
        alone = {field: values[field] for field in (name, *_FLAGS) if field in values}
        return not _Checker(self._to_ascii, self._is_public_suffix).check(alone).errors

    def _origins(self, values: Mapping[str, Any], flags: Mapping[str, bool]) -> tuple[OriginEntry, ...]:
        entries: dict[str, OriginEntry] = {}
        patterns: list[tuple[str, OriginPattern]] = []
        for index, value in enumerate(self._list(values, "allow_origins")):
            pointer = f"/allow_origins/{index}"
            expires_at = None
            if isinstance(value, Mapping):
                expires_at = self._expiry(value, pointer)
                self._entry_fields(value, pointer)
                value, pointer = value.get("pattern"), f"{pointer}/pattern"
            if not isinstance(value, str):
                self._problem("origin_not_a_string", pointer, "An origin is a string such as https://app.example.com.")
                continue
            pattern = self._pattern(value, pointer)
            if pattern is None:
                continue
            entry = OriginEntry(pattern.text, expires_at)
            if entries.setdefault(pattern.text, entry) is entry:
                patterns.append((pointer, pattern))
            elif entries[pattern.text] != entry:
                message = "The same pattern stands twice, with another expires_at: keep one of the two."
                self._problem("origin_duplicate", pointer, message)
        has_wildcards = any("*" in text for text in entries if text != ANY or not flags["allow_credentials"])
        for index, (pointer, pattern) in enumerate(patterns):
            self._origin_in_context(pattern, pointer, flags)
            if has_wildcards and index < MAX_COVER_CHECKS:
                self._covered(pattern, pointer, entries, flags["allow_credentials"])
        return tuple(entries.values())

    def _pattern(self, text: str, pointer: str) -> OriginPattern | None:
        try:
            pattern = OriginPattern.parse(text, self._to_ascii)
        except InvalidOrigin as error:
            self._problem(error.code, pointer, error.message, error.suggestion)
            return None
        if not is_valid_domain(pattern.host, self._to_ascii):
            self._problem("origin_a_label_invalid", pointer, "A label that starts with xn-- is no valid A-label.")
            return None
        return pattern

    def _entry_fields(self, value: Mapping[str, Any], pointer: str) -> None:
        note = value.get("note")
        if note is not None and (not isinstance(note, str) or len(note) > MAX_NOTE_LENGTH or not _is_storable(note)):
            message = f"A note is a text of at most {MAX_NOTE_LENGTH} characters, without NUL."
            self._problem("note_invalid", f"{pointer}/note", message)
        for name in value:
            if name not in ("pattern", "note", "expires_at") and name not in _READ_ONLY_ENTRY_FIELDS:
                message = "There is no such field. An entry has pattern, note and expires_at."
                self._problem("unknown_field", f"{pointer}{json_pointer(name)}", message)

    def _expiry(self, value: Mapping[str, Any], pointer: str) -> float | None:
        text = value.get("expires_at")
        if text is None:
            return None
        try:
            if not RFC_3339.fullmatch(text):
                raise ValueError
            instant = datetime.fromisoformat(text)
            seconds = instant.astimezone(UTC).timestamp()
            datetime.fromtimestamp(seconds, UTC)  # The last instants there are round up to one that is not.
            return seconds
        except (TypeError, ValueError, OverflowError):
            message = "expires_at is an RFC 3339 time with its zone, such as 2030-01-31T12:00:00Z."
            self._problem("expires_at_invalid", f"{pointer}/expires_at", message)
            return None

    def _origin_in_context(self, pattern: OriginPattern, pointer: str, flags: Mapping[str, bool]) -> None:
        credentials = flags["allow_credentials"]
        if pattern.is_any:
            if credentials:
                message = "`*` never stands with credentials: list the origins, or turn allow_credentials off."
                self._problem("origin_any_with_credentials", pointer, message)
            return
        public = self._is_under_public_suffix(pattern)
        if credentials and public and not flags["dangerously_allow_public_suffixes"]:
            message = (
                f"Anybody can register a name under {pattern.parent}. With credentials, set "
                "dangerously_allow_public_suffixes if you mean it."
            )
            self._problem("origin_public_suffix", pointer, message)
        elif public and not credentials:
            self._warn("origin_public_suffix", pointer, f"Anybody can register a name under {pattern.parent}.")
        insecure = pattern.scheme != "https" and not pattern.is_loopback
        if credentials and insecure and not flags["dangerously_allow_insecure_origins"]:
            message = (
                "Anybody on the network can pose as an origin that is not https. With credentials, use https or set "
                "dangerously_allow_insecure_origins if you mean it."
            )
            is_secure_alternative = pattern.scheme == "http" and not public
            suggestion = f"https{pattern.text[4:].removesuffix(':443')}" if is_secure_alternative else None
            self._problem("origin_insecure", pointer, message, suggestion)

    def _is_under_public_suffix(self, pattern: OriginPattern) -> bool:
        if self._is_public_suffix is None or pattern.parent is None or pattern.is_loopback:
            return False
        return self._is_public_suffix(pattern.parent.rstrip("."))

    def _covered(
        self, pattern: OriginPattern, pointer: str, entries: Mapping[str, OriginEntry], credentials: bool
    ) -> None:
        if pattern.is_any:
            return
        expires = entries[pattern.text].expires_at
        for text in broader(pattern, entries, credentials):
            until = entries[text].expires_at
            if until is not None and (expires is None or until < expires):
                continue
            self._warn("origin_covered", pointer, f"{text} already admits everything that this entry admits.")
            return

    def _methods(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        methods: dict[str, None] = {}
        for index, value in enumerate(self._list(values, "allow_methods")):
            pointer = f"/allow_methods/{index}"
            if not isinstance(value, str) or not _is_token(value):
                self._problem("method_not_a_token", pointer, "A method is a token such as PUT.")
                continue
            upper = value.upper()
            if upper in _FORBIDDEN_METHODS:
                self._problem("method_forbidden", pointer, f"Browsers never let a page send {upper}.")
                continue
            if upper in _NORMALIZED_METHODS:
                value = upper
            elif value == "patch":
                self._warn("method_case", pointer, "Methods are case-sensitive: `patch` is not `PATCH`.", "PATCH")
            methods[value] = None
        return tuple(methods)

    def _names(self, values: Mapping[str, Any], field: str) -> list[tuple[str, str]]:
        """The header names in `field`, lower case, each with its pointer; the ones that are no token reported."""
        names: list[tuple[str, str]] = []
        for index, value in enumerate(self._list(values, field)):
            pointer = f"/{field}/{index}"
            if isinstance(value, str) and _is_token(value):
                names.append((value.lower(), pointer))
            else:
                self._problem("header_not_a_token", pointer, "A header name is a token such as Content-Type.")
        return names

    def _request_headers(self, values: Mapping[str, Any], credentials: bool) -> tuple[str, ...]:
        names: dict[str, str] = {}
        for name, pointer in self._names(values, "allow_headers"):
            if name in _FORBIDDEN_REQUEST_HEADERS or name.startswith(("proxy-", "sec-")):
                self._problem("header_forbidden", pointer, f"Browsers never let a page set {name}.")
            elif name in _RESPONSE_ONLY_CORS_HEADERS:
                self._problem("header_response_only", pointer, f"{name} is a response header; requests have none.")
            else:
                names.setdefault(name, pointer)
        if "*" in names and credentials:
            message = "Every request header is allowed, together with credentials."
            self._warn("headers_any_with_credentials", names["*"], message)
        elif "*" in names and "authorization" not in names:
            message = "`*` does not cover Authorization: list it by name if pages send it."
            self._warn("headers_any_without_authorization", names["*"], message)
        return tuple(names)

    def _exposed_headers(self, values: Mapping[str, Any], credentials: bool) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for name, pointer in self._names(values, "expose_headers"):
            if name in ("set-cookie", "set-cookie2"):
                self._problem("header_forbidden", pointer, f"Browsers never show {name} to a page.")
            elif name in _REQUEST_ONLY_HEADERS:
                self._problem("header_request_only", pointer, f"{name} is a request header; responses have none.")
            elif name == "*" and credentials:
                message = "With credentials browsers read `*` as a header of that name: list the headers."
                self._problem("expose_any_with_credentials", pointer, message)
            else:
                names[name] = None
        return tuple(names)

    def _max_age(self, values: Mapping[str, Any]) -> int | None:
        value = values.get("max_age")
        if value is None:
            return None
        if type(value) is not int:
            self._problem("max_age_not_an_integer", "/max_age", "max_age is a whole number of seconds, or null.")
            return None
        if not 0 <= value <= MAX_AGE_LIMIT:
            self._problem("max_age_out_of_range", "/max_age", f"max_age is 0 to {MAX_AGE_LIMIT} seconds.")
            return None
        if value > SHORTEST_BROWSER_CAP:
            message = (
                f"Preflights of a removed origin stay cached in browsers for up to {value} seconds "
                "(WebKit caps at 600, Chromium at 7200, Firefox at 86400)."
            )
            self._warn("max_age_long", "/max_age", message)
        return value


def broader(pattern: OriginPattern, patterns: Container[str], credentials: bool) -> Iterator[str]:
    """Those of `patterns`, itself apart, that admit everything that `pattern` admits."""
    # Read as an origin, a pattern's own wildcards only meet wildcards: what admits it admits all it admits.
    origin = Origin(pattern.scheme.encode(), pattern.host.encode(), pattern.port.encode())
    texts = (candidate.decode() for candidate in candidates(origin))
    yield from (text for text in texts if text in patterns and text != pattern.text)
    if ANY in patterns and not credentials:
        yield ANY


def _is_token(value: str) -> bool:
    return value.isascii() and is_token(value.encode())


def _is_storable(text: str) -> bool:
    # Neither PostgreSQL's text nor UTF-8 can hold these two.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def json_pointer(*parts: object) -> str:
    """The JSON pointer (RFC 6901) that leads through these names and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
