"""The lookup of wildcard patterns: which patterns of a list could match an origin, without reading the list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from corspolicy.core.origins import DIGITS, LOWER, split_port
from corspolicy.core.patterns import ANY, OriginPattern

# What `*` in a label matches; and `*` itself, for a pattern that is held against broader ones.
_IN_LABEL = LOWER + DIGITS + b"-*"


class WildcardIndex:
    """What the wildcard patterns of a list look like, so that a lookup tries only texts that can be in it. Immutable.

    A lookup's cost depends on the longest pattern and on the shapes of `*` in a label under one domain, never on the
    number of patterns nor on the length of the origin.
    """

    __slots__ = ("_any_host", "_depth", "_shapes")

    def __init__(self, texts: Iterable[str]) -> None:
        self._depth = 0
        self._any_host = False
        shapes: dict[bytes, set[tuple[int, int]]] = {}
        for text in texts:
            if "*" not in text:
                continue
            scheme, _, authority = text.encode().partition(b"://")
            host = split_port(authority)[0]
            label, dot, parent = host.partition(b".")
            if host == b"*":
                self._any_host = True
            elif b"*" in label:
                self._depth = max(self._depth, host.count(b"."))
                before, _, after = label.partition(b"*")
                if before or after:
                    key = scheme + b"://*" + dot + parent
                    shapes.setdefault(key, set()).add((len(before), len(after)))
        self._shapes = {key: tuple(sorted(found, key=sum, reverse=True)) for key, found in shapes.items()}

    def candidates(self, origin: bytes) -> Iterator[bytes]:
        """The texts of the wildcard patterns that would match `origin`, most specific first, `*` left out.

        `origin` may be any bytes; whether it is an origin is for the caller to check once a candidate is found.
        """
        scheme, _, authority = origin.partition(b"://")
        host, port = split_port(authority)
        prefix = scheme + b"://"
        end = b"" if port is None else b":" + port
        yield prefix + host + b":*"
        if self._depth and host[:1] != b"[":
            head, *labels = host.rsplit(b".", self._depth)
            at = len(head)
            if self._shapes and labels and b"." not in head:
                yield from self._within(prefix, head, host[at:], end)
            for label in labels:
                if at:
                    parent = prefix + b"*" + host[at:]
                    yield parent + end
                    yield parent + b":*"
                at += len(label) + 1
        if self._any_host:
            yield prefix + b"*" + end
            yield prefix + b"*:*"

    def _within(self, prefix: bytes, label: bytes, parent: bytes, end: bytes) -> Iterator[bytes]:
        for before, after in self._shapes.get(prefix + b"*" + parent, ()):
            rest = len(label) - after
            middle = label[before:rest]
            if middle and not middle.translate(None, _IN_LABEL):
                text = prefix + label[:before] + b"*" + label[rest:] + parent
                yield text + end
                yield text + b":*"


class PatternSet:
    """Patterns, and which of them match all that another one matches."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = frozenset(texts)
        self._index = WildcardIndex(self._texts)

    def __contains__(self, text: object) -> bool:
        return text in self._texts

    def broader(self, pattern: OriginPattern, credentials: bool) -> Iterator[str]:
        """Those patterns, `pattern` itself apart, that match every origin that `pattern` matches.

        With `credentials`, `*` is not one of them: what it allows is anonymous.
        """
        # Held against others as if it were an origin, a pattern's own wildcards meet only wildcards.
        for candidate in self._index.candidates(pattern.text.encode()):
            text = candidate.decode()
            if text != pattern.text and text in self._texts:
                yield text
        if ANY in self._texts and not credentials and not pattern.is_any:
            yield ANY
