"""`allow_origins` as patterns: the values that can equal an Origin header."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from corspolicy.core.origins import DEFAULT_PORTS, Origin
from corspolicy.core.patterns import ANY, InvalidOrigin, OriginPattern
from policy_service.cli.cors_import.findings import Equivalent, is_accepted, listed
from policy_service.documents.domains import to_ascii

_BUILT_IN = tuple(kind.__contains__ for kind in (list, tuple, set, frozenset, dict))
# What browsers can send beyond what a policy can hold: the URL standard forbids few characters in a host (section 3.1).
_SENDABLE = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://[!-~]+", re.ASCII)
_FORBIDDEN = re.compile(r"[/#<>?@\\^|%*]|:(?!\d{1,5}$)|\[(?!.*\]$)")


def patterns_of(origins: object, found: Equivalent) -> list[str]:
    """The patterns for CORSMiddleware's `allow_origins`; differences are added to `found`."""
    if isinstance(origins, str):
        return _of_text(origins, found)
    if getattr(type(origins), "__contains__", None) not in _BUILT_IN:
        _tell_of_container(origins, found)
        return []
    assert isinstance(origins, list | tuple | set | frozenset | dict)
    return [text for origin in origins for text in _of_value(origin, found)]


def _of_value(origin: object, found: Equivalent) -> Iterator[str]:
    told = f"allow_origins: {origin!r}"
    text = str.__str__(origin) if isinstance(origin, str) else str(origin)
    if not isinstance(origin, str) and origin != text:
        meant = " Is an environment variable not set?" if origin is None else _meant(text)
        found.notes.append(f"{told} is not a text and never equals an Origin header: it is left out.{meant}")
    elif text == "null":
        found.leave_out("allow_origins: `null` is what any sandboxed page sends: no policy can allow it.")
    elif _is_listable(text):
        yield text
    elif _is_sendable(text):
        found.leave_out(f"{told} is an origin that no policy can list. {_why(text)}")
    else:
        found.notes.append(f"{told} allows nobody and is left out. {_why(text)}{_meant(text)}")


def _of_text(text: str, found: Equivalent) -> list[str]:
    whole = [part for part in re.split(r"[\s,;]+", text) if _is_listable(part)]
    told = "allow_origins is a text, not a list: CORSMiddleware looks for the Origin header anywhere in it"
    accidental = next(filter(_is_listable, (part[:end] for part in whole for end in range(len(part) - 1, 8, -1))), None)
    if accidental is not None:
        found.leave_out(
            f"{told}, so that it also allows {accidental}, for example. The policy has {', '.join(whole)} only."
        )
    elif whole:
        found.notes.append(f"{told}. The policy has {', '.join(whole)}.")
    else:
        found.notes.append(f"{told}, and no origin is in {text!r}: it allows nobody.")
    return whole


def _tell_of_container(origins: object, found: Equivalent) -> None:
    kind = type(origins).__name__
    if hasattr(origins, "__next__"):
        found.notes.append(
            f"allow_origins is a {kind}, which is read to its end at once: it allows nobody. Make it a list."
        )
    else:
        found.left_out.append(f"allow_origins: {kind} decides with code of its own. List the origins that it allows.")


def _is_listable(text: str) -> bool:
    return Origin.parse(text.encode("utf-8", "surrogatepass")) is not None and is_accepted(text)


def _is_sendable(text: str) -> bool:
    """Whether browsers may send it although no policy can list it, such as `http://a!b.example.com`."""
    form = _SENDABLE.fullmatch(text)
    if form is None or form["scheme"] == "file":
        return False
    rest = text.partition("://")[2]
    default = DEFAULT_PORTS.get(form["scheme"].encode())
    is_lower = rest == rest.lower() or default is None
    has_default = default is not None and rest.endswith(f":{default.decode()}")
    return is_lower and not has_default and _FORBIDDEN.search(rest) is None and "xn--" not in rest


def _why(text: str) -> str:
    if ANY in text:
        return "CORSMiddleware does not take `*` here as a wildcard."
    try:
        OriginPattern.parse(text, to_ascii)
    except InvalidOrigin as error:
        return error.message
    return "A label that starts with xn-- is not a valid A-label."


def _meant(text: str) -> str:
    try:
        meant: Sequence[str] = (OriginPattern.parse(text, to_ascii).text,)
    except InvalidOrigin as error:
        meant = error.suggestions
    return f" If you mean {listed(meant)}, add it: `corspolicy origins add TENANT '{meant[0]}'`." if meant else ""
