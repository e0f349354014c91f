"""`allow_origin_regex` as patterns, with messages about the differences."""

from __future__ import annotations

import re

from corspolicy.core.patterns import ANY, InvalidOrigin, OriginPattern
from policy_service.cli.cors_import import expressions
from policy_service.cli.cors_import.findings import Equivalent, Nearest, is_accepted, listed
from policy_service.cli.cors_import.languages import TooComplex
from policy_service.cli.cors_import.translation import Translation, translate

_LIST = (
    "List the origins that you mean; add preview deployments as they are deployed: "
    "`corspolicy origins add TENANT ORIGIN --expires 3d`."
)


def patterns_of(expression: re.Pattern[str], found: Equivalent) -> list[str]:
    """The patterns for CORSMiddleware's `allow_origin_regex`; differences are added to `found`."""
    told = f"allow_origin_regex '{expression.pattern}'"
    if not isinstance(expression.pattern, str):
        told = f"allow_origin_regex {expression.pattern!r}"
        found.notes.append(f"{told} is a pattern of bytes: it never matches, and every request with an Origin fails.")
        return []
    try:
        translation = translate(expression)
    except TooComplex:
        found.leave_out(f"{told} is too complex to translate. {_LIST}")
        return []
    # Without those that no browser can send, for their A-labels.
    translation.patterns = list(filter(is_accepted, translation.patterns))
    if translation.patterns == [ANY]:
        return [ANY]
    if expression.fullmatch("null"):
        found.leave_out(f"{told} also matches `null`, which any sandboxed page sends: no policy can allow it.")
    if translation.left_out is not None and found.nearest is Nearest.WIDER and translation.wider is not None:
        found.notes.append(f"{told}: {_wider(translation)}.")
        return translation.wider
    if translation.left_out is not None:
        found.leave_out(_choices(expression, translation, told))
    else:
        _tell_of_exact(expression, translation, told, found)
    if translation.beside is not None:
        wildcards = listed([text for text in translation.patterns if "://*." in text])
        beside = f"hosts that are not valid host names (RFC 1123), such as {translation.beside}"
        found.notes.append(f"{told}: {beside}, match {wildcards} as well.")
    return translation.patterns


def _tell_of_exact(expression: re.Pattern[str], translation: Translation, told: str, found: Equivalent) -> None:
    if not translation.patterns and not expression.fullmatch("null"):
        found.notes.append(f"{told} matches no origin that browsers send, and is left out.{_meant(expression)}")
    elif _is_glob(expression.pattern):
        found.notes.append(f"{told}: {_on_glob(expression)}")


def _choices(expression: re.Pattern[str], translation: Translation, told: str) -> str:
    patterns = listed(translation.patterns) or "none"
    narrower = f"narrower, as printed: {patterns}; it leaves out {translation.left_out}, for example"
    wider = "wider: none" if translation.wider is None else _wider(translation)
    return "\n    ".join(
        (f"{told}: no patterns match the same origins. {_advice(expression, translation)}", narrower, wider)
    )


def _wider(translation: Translation) -> str:
    assert translation.wider is not None
    beside = translation.wider_beside
    more = f"; it also matches {beside}, for example" if beside else "; it may match more"
    return f"wider: {listed(translation.wider)}{more}"


def _advice(expression: re.Pattern[str], translation: Translation) -> str:
    if _is_glob(expression.pattern):
        return _on_glob(expression)
    tree = expressions.read(expression)
    beyond = expressions.described(tree)
    if beyond:
        return f"It has {' and '.join(beyond)}, which patterns cannot express."
    if expressions.has_dots(tree):
        return r"An unescaped dot matches any character: write `\.` for a dot, or choose with --nearest:"
    return _LIST if translation.wider is None else "Choose with --nearest:"


def _is_glob(text: str) -> bool:
    try:
        return ANY in OriginPattern.parse(text).text
    except InvalidOrigin:
        return False


def _on_glob(expression: re.Pattern[str]) -> str:
    return (
        "It is a glob, but is read as a regular expression, in which `*` repeats the character before it. If you mean "
        f"the glob, add it to the policy: `corspolicy origins add TENANT '{expression.pattern}'`."
    )


def _meant(expression: re.Pattern[str]) -> str:
    """A likely correction of an expression that matches no origin, with its patterns."""
    text = expression.pattern
    without_path = re.sub(r"(?<![:/])/(?!/).*$", "", text)
    for meant in (text.replace("\\\\", "\\"), text.lower(), without_path, f"https://{text.lstrip('^')}"):
        try:
            patterns = translate(re.compile(meant, expression.flags)).patterns if meant != text else []
        except (re.error, TooComplex, OverflowError):
            continue
        if patterns and patterns != [ANY]:
            return f" If you mean {listed(patterns)}, write {meant}."
    return ""
