"""What the author of a value that a policy cannot have most likely meant."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator

from corspolicy.core.origins import DEFAULT_PORTS, MAX_ORIGIN_BYTES, is_valid_domain

MAX_SUGGESTIONS = 10
"""How many values are suggested for one entry that holds several."""
MAX_PARTS = 100
MAX_TEXT_LENGTH = 4_096
MAX_SHOWN = 50
MAX_DIGITS = 5

_QUOTES = "\"'`“”‘’"
_AROUND = _QUOTES + " \t\r\n,;"
_BETWEEN = re.compile(r"[\s,;]+")
_PORT_LIST = re.compile(r"(?P<before>[^\[\]]*:)\[(?P<ports>[\d\s,*]+)\]", re.ASCII)


def split(text: str) -> list[str]:
    """The values that a text holds, separated by commas, semicolons or white space, without quotes and brackets."""
    if len(text) > MAX_TEXT_LENGTH:
        return [text]
    text = text.strip(_AROUND)
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [value for part in _BETWEEN.split(text) if (value := part.strip(_AROUND))]


def meant_boolean(value: object) -> str | None:
    """The JSON of the boolean that `value` is in other notations."""
    word = str(value).strip(_AROUND).lower()
    if word in ("true", "yes", "on", "1"):
        return "true"
    return "false" if word in ("false", "no", "off", "0") else None


def meant_seconds(value: object) -> str | None:
    """The JSON of the integer that `value` is in other notations."""
    word = str(value).strip(_AROUND).removesuffix(".0")
    is_number = isinstance(value, str | float) and word.isascii() and word.isdigit() and len(word) <= MAX_DIGITS
    return str(int(word)) if is_number else None


def shown(value: object) -> str:
    """A value as a message names it, in JSON and not too long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def suggestions(text: str, to_ascii: Callable[[str], str] | None) -> list[str]:
    """Texts that could have been meant by `text`, which the caller has to check: several where it holds several."""
    if len(text) > MAX_TEXT_LENGTH:
        return []
    parts = list(_parts(text))
    meant = (_origin(part, to_ascii) for part in parts) if len(parts) <= MAX_PARTS else ()
    return [each for each in meant if each is not None]


def _parts(text: str) -> Iterator[str]:
    text = text.strip(_AROUND)
    if text.startswith("[") and text.endswith("]") and "://" in text:
        text = text[1:-1].strip(_AROUND)
    ports = _PORT_LIST.fullmatch(text)
    if ports is not None:
        yield from (ports["before"] + port for port in _BETWEEN.split(ports["ports"].strip(" ,")))
        return
    yield from (part.strip(_AROUND) for part in _BETWEEN.split(text))


def _origin(text: str, to_ascii: Callable[[str], str] | None) -> str | None:
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text.removeprefix("//")
    if not scheme.isascii():
        return None
    for end in "/?#":
        rest = rest.partition(end)[0]
    host, port = _split_port(rest.rpartition("@")[2])
    host = _host(host, to_ascii)
    if not host.isascii() or not port.isascii():
        return None
    if port.isdigit():
        port = port.lstrip("0")
    if not separator and not ("." in host or _is_local(host)):
        return None
    scheme = scheme.lower() or ("http" if _is_local(host) else "https")
    if DEFAULT_PORTS.get(scheme.encode()) == port.encode():
        port = ""
    meant = f"{scheme}://{host}" + (f":{port}" if port else "")
    return meant if is_valid_domain(host, to_ascii) else None


def _is_local(host: str) -> bool:
    """Whether pages of the host are more likely served over http: this machine, or an address."""
    if host.startswith("["):
        return True
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return True


def _split_port(authority: str) -> tuple[str, str]:
    if authority.endswith("]") or ":" not in authority:
        return authority, ""
    host, _, port = authority.rpartition(":")
    return host, port


def _host(host: str, to_ascii: Callable[[str], str] | None) -> str:
    if host.startswith("["):
        try:
            address = ipaddress.IPv6Address(host.strip("[]").partition("%")[0])
        except ValueError:
            return host
        return str(address.ipv4_mapped or f"[{address.compressed}]")
    if not host.isascii() and to_ascii is not None and len(host) <= MAX_ORIGIN_BYTES:
        wildcard, domain = ("*.", host[2:]) if host.startswith("*.") else ("", host)
        try:
            return wildcard + to_ascii(domain)
        except ValueError:
            return host
    return f"*{host}" if host.startswith(".") else host.lower()
