"""Whether values make a policy: every error at once, each with a code, a pointer, a message, a suggestion.

The rules are those of the Fetch standard (sections 2.2 and 3.3) and of what browsers can send at all; where
this rejects more than they do, it is because the value grants more than its author can have meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from corspolicy.core.entries import MAX_NOTE_LENGTH, RFC_3339, check_fields, read_expiry
from corspolicy.core.findings import MAX_REPORTED, Checked, Finding, Findings, TooManyErrors, json_pointer
from corspolicy.core.http_names import (
    Note,
    exposed_header_note,
    method_note,
    normalized_method,
    request_header_note,
)
from corspolicy.core.origins import is_valid_domain
from corspolicy.core.patterns import ANY, InvalidOrigin, OriginPattern, others_with_access
from corspolicy.core.policy import MAX_AGE_LIMIT, SETTINGS, Flag, OriginEntry, Policy
from corspolicy.core.suggestions import MAX_SUGGESTIONS, meant_boolean, meant_seconds, shown, split
from corspolicy.core.wildcards import PatternSet

__all__ = ["MAX_NOTE_LENGTH", "MAX_REPORTED", "RFC_3339", "Checked", "Finding", "check", "json_pointer"]

SHORTEST_BROWSER_CAP = 600
MAX_COVER_CHECKS = 1_000

_INSECURE_SCHEMES = frozenset(("http", "ws", "ftp"))
_FLAGS = tuple(name for name, setting in SETTINGS.items() if isinstance(setting.kind, Flag))


def check(
    values: object,
    *,
    to_ascii: Callable[[str], str] | None = None,
    is_public_suffix: Callable[[str], bool] | None = None,
) -> Checked:
    """Read the JSON values of a policy.

    `to_ascii(domain)` gives the A-label form of a domain and raises ValueError for a domain that has none;
    `is_public_suffix(domain)` tells whether anyone can register names under it. Both need data that a
    service which only applies policies should not carry; without them those two checks are left out.
    """
    return _Checker(to_ascii, is_public_suffix).check(values)


class _Checker:
    def __init__(
        self,
        to_ascii: Callable[[str], str] | None,
        is_public_suffix: Callable[[str], bool] | None,
        is_nested: bool = False,
    ) -> None:
        """`is_nested` is a check of something to suggest: it has no suggestions of its own."""
        self._to_ascii = to_ascii
        self._is_public_suffix = is_public_suffix
        self._is_nested = is_nested
        self._flags: dict[str, bool] = {}
        self._findings = Findings()

    def check(self, values: object) -> Checked:
        try:
            return self._check(values)
        except TooManyErrors:
            message = f"More than {MAX_REPORTED} errors; only the first {MAX_REPORTED} are listed."
            self._findings.errors.append(Finding("too_many_errors", "", message))
            return self._result(None)

    def _check(self, values: object) -> Checked:
        if not isinstance(values, Mapping):
            self._findings.error("not_an_object", "", "A policy must be a JSON object.")
            return self._result(None)
        for name in values:
            if name not in SETTINGS:
                message = f"Unknown setting. The settings are {', '.join(SETTINGS)}."
                self._findings.error("unknown_field", json_pointer(name), message)
        self._flags = flags = {name: self._flag(values, name) for name in _FLAGS}
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
        errors, warnings = self._findings.errors, self._findings.warnings
        return Checked(None if errors else policy, tuple(errors), tuple(warnings))

    def _flag(self, values: Mapping[str, Any], name: str) -> bool:
        value = values.get(name, SETTINGS[name].default)
        if not isinstance(value, bool):
            message = f"{name} must be true or false, not {shown(value)}."
            self._findings.error("not_a_boolean", f"/{name}", message, meant_boolean(value))
            return False
        return value

    def _list(self, values: Mapping[str, Any], name: str) -> list[Any]:
        value = values.get(name, [])
        if isinstance(value, list | tuple):
            return list(value)
        suggestion = None
        if isinstance(value, str) and not self._is_nested:
            items = self._meant_origins(value) if name == "allow_origins" else split(value)
            # Only if all of it is understood: what is left out would be lost without a word.
            if items and len(items) == len(split(value)) and self._accepts(name, items):
                suggestion = json.dumps(items, ensure_ascii=False)
        self._findings.error("not_a_list", f"/{name}", f"{name} must be a list, not {shown(value)}.", suggestion)
        return []

    def _meant_origins(self, text: str) -> list[str]:
        """The patterns that `text` holds."""
        try:
            return self._accepted([OriginPattern.parse(text, self._to_ascii).text])
        except InvalidOrigin as error:
            return self._accepted(error.suggestions)

    def _accepted(self, texts: Sequence[str]) -> list[str]:
        """Those of the patterns that are accepted with the flags as they are, over https where http is not."""
        secure = ((each, f"https{each[4:]}") if each.startswith("http://") else (each,) for each in texts)
        found = (next((form for form in forms if self._accepts("allow_origins", [form])), None) for forms in secure)
        return [each for each in found if each is not None]

    def _accepts(self, name: str, items: list[str]) -> bool:
        """Whether the list `name` may hold these, with the flags as they are."""
        if self._is_nested:
            return False
        checker = _Checker(self._to_ascii, self._is_public_suffix, is_nested=True)
        return not checker.check({**self._flags, name: items}).errors

    def _origins(self, values: Mapping[str, Any], flags: Mapping[str, bool]) -> tuple[OriginEntry, ...]:
        entries: dict[str, OriginEntry] = {}
        patterns: list[tuple[str, OriginPattern]] = []
        for index, value in enumerate(self._list(values, "allow_origins")):
            pointer = f"/allow_origins/{index}"
            expires_at = None
            if isinstance(value, Mapping):
                expires_at = read_expiry(value, pointer, self._findings)
                check_fields(value, pointer, self._findings)
                value, pointer = value.get("pattern"), f"{pointer}/pattern"
            if not isinstance(value, str):
                self._findings.error(
                    "origin_not_a_string", pointer, "An origin must be a text such as https://app.example.com."
                )
                continue
            pattern = self._pattern(value, pointer)
            if pattern is None:
                continue
            entry = OriginEntry(pattern.text, expires_at)
            if entries.setdefault(pattern.text, entry) is entry:
                patterns.append((pointer, pattern))
            elif entries[pattern.text] != entry:
                message = "The same pattern is listed twice with different expires_at: keep one."
                self._findings.error("origin_duplicate", pointer, message)
        has_wildcards = any("*" in text for text in entries if text != ANY or not flags["allow_credentials"])
        all_patterns = PatternSet(entries if has_wildcards else ())
        for index, (pointer, pattern) in enumerate(patterns):
            self._origin_in_context(pattern, pointer, flags)
            if has_wildcards and index < MAX_COVER_CHECKS:
                self._covered(pattern, pointer, entries, all_patterns, flags["allow_credentials"])
        return tuple(entries.values())

    def _pattern(self, text: str, pointer: str) -> OriginPattern | None:
        try:
            pattern = OriginPattern.parse(text, self._to_ascii)
        except InvalidOrigin as error:
            meant = self._accepted(error.suggestions[:MAX_SUGGESTIONS])
            self._findings.each(error.code, pointer, error.message, meant)
            return None
        if not is_valid_domain(pattern.host, self._to_ascii):
            self._findings.error(
                "origin_a_label_invalid",
                pointer,
                "Invalid A-label: xn-- has to be followed by the Punycode of a name.",
            )
            return None
        return pattern

    def _origin_in_context(self, pattern: OriginPattern, pointer: str, flags: Mapping[str, bool]) -> None:
        credentials = flags["allow_credentials"]
        if pattern.is_any:
            if credentials:
                message = "`*` cannot be combined with credentials: list the origins, or turn allow_credentials off."
                self._findings.error("origin_any_with_credentials", pointer, message)
            else:
                self._findings.warn("origin_any", pointer, "`*` lets every website read the responses.")
            return
        strangers = others_with_access(pattern, self._is_public_suffix)
        if strangers is not None and not credentials:
            self._findings.warn("origin_public_suffix", pointer, strangers)
        elif strangers is not None and not flags["dangerously_allow_public_suffixes"]:
            message = f"{strangers} With credentials, set dangerously_allow_public_suffixes if that is intended."
            self._findings.error("origin_public_suffix", pointer, message)
        is_insecure = pattern.scheme in _INSECURE_SCHEMES and not pattern.is_loopback
        if credentials and is_insecure and not flags["dangerously_allow_insecure_origins"]:
            message = (
                f"Anyone on the network can pose as an origin of {pattern.scheme}. With credentials, use https, or set "
                "dangerously_allow_insecure_origins if that is intended."
            )
            suggestion = f"https{pattern.text[4:].removesuffix(':443')}" if pattern.scheme == "http" else None
            is_accepted = suggestion is not None and self._accepts("allow_origins", [suggestion])
            self._findings.error("origin_insecure", pointer, message, suggestion if is_accepted else None)

    def _covered(
        self,
        pattern: OriginPattern,
        pointer: str,
        entries: Mapping[str, OriginEntry],
        patterns: PatternSet,
        credentials: bool,
    ) -> None:
        expires = entries[pattern.text].expires_at
        for text in patterns.broader(pattern, credentials):
            until = entries[text].expires_at
            if until is not None and (expires is None or until < expires):
                continue
            self._findings.warn("origin_covered", pointer, f"{text} already allows everything that this entry allows.")
            return

    def _methods(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        names = self._names(values, "allow_methods", normalized_method, method_note)
        return tuple(names)

    def _request_headers(self, values: Mapping[str, Any], credentials: bool) -> tuple[str, ...]:
        names = self._names(values, "allow_headers", str.lower, request_header_note)
        if "*" in names and credentials:
            message = "Every request header is allowed, together with credentials."
            self._findings.warn("headers_any_with_credentials", names["*"], message)
        elif "*" in names and "authorization" not in names:
            message = "`*` does not cover Authorization: list it by name if pages send it."
            self._findings.warn("headers_any_without_authorization", names["*"], message)
        return tuple(names)

    def _exposed_headers(self, values: Mapping[str, Any], credentials: bool) -> tuple[str, ...]:
        names = self._names(values, "expose_headers", str.lower, lambda name: exposed_header_note(name, credentials))
        return tuple(names)

    def _names(
        self,
        values: Mapping[str, Any],
        setting: str,
        stored: Callable[[str], str],
        judge: Callable[[str], Note | None],
    ) -> dict[str, str]:
        """The names in the list `setting` that a policy can have, as they are stored, each with its pointer."""
        names: dict[str, str] = {}
        for index, value in enumerate(self._list(values, setting)):
            pointer = f"/{setting}/{index}"
            # Only ASCII: lower case makes letters of it that were others.
            name = stored(value) if isinstance(value, str) and value.isascii() else ""
            note = judge(name)
            if note is None or not note.is_error:
                names.setdefault(name, pointer)
            if note is not None and note.is_error and isinstance(value, str):
                self._name_error(note, setting, pointer, value)
            elif note is not None:
                report = self._findings.error if note.is_error else self._findings.warn
                report(note.code, pointer, note.message, note.suggestion)
        return names

    def _name_error(self, note: Note, setting: str, pointer: str, text: str) -> None:
        parts = split(text)
        if len(parts) > MAX_SUGGESTIONS:
            parts = []
        meant = [part for part in parts if part != text and self._accepts(setting, [part])]
        if len(parts) > 1 and len(meant) == len(parts):
            message = "Several names in one text: write each as an entry of its own."
            self._findings.each("names_several", pointer, message, meant)
        else:
            self._findings.each(note.code, pointer, note.message, meant if len(parts) == 1 else ())

    def _max_age(self, values: Mapping[str, Any]) -> int | None:
        value = values.get("max_age")
        if value is None:
            return None
        if type(value) is not int:
            message = f"max_age must be a whole number of seconds, or null, not {shown(value)}."
            self._findings.error("max_age_not_an_integer", "/max_age", message, meant_seconds(value))
            return None
        if not 0 <= value <= MAX_AGE_LIMIT:
            message = f"max_age must be 0 to {MAX_AGE_LIMIT} seconds."
            self._findings.error("max_age_out_of_range", "/max_age", message, str(min(max(value, 0), MAX_AGE_LIMIT)))
            return None
        if value > SHORTEST_BROWSER_CAP:
            message = (
                f"Preflights of a removed origin stay cached in browsers for up to {value} seconds "
                "(WebKit caps at 600, Chromium at 7200, Firefox at 86400)."
            )
            self._findings.warn("max_age_long", "/max_age", message)
        return value
