"""The patterns that would allow an origin, as texts to look up: the core says which texts match."""

from __future__ import annotations

from collections.abc import Iterator

from corspolicy.core.origins import MAX_LABEL_BYTES
from corspolicy.core.patterns import ANY, MIN_FIXED_CHARACTERS, InvalidOrigin, OriginPattern
from corspolicy.core.wildcards import WildcardIndex


def patterns_allowing(origin: OriginPattern) -> list[str]:
    """Every pattern that matches `origin`, or all that it matches, in byte order; `*` only for `*` itself.

    At most 4,100 texts. Raises InvalidOrigin for a longer first label, which only schemes have that are not special in
    the URL standard: there are too many ways to put a `*` into it.
    """
    if origin.is_any:
        return [ANY]
    if len(origin.host.partition(".")[0]) > MAX_LABEL_BYTES and "." in origin.host:
        message = (
            f"The first label of the host is longer than {MAX_LABEL_BYTES} bytes: such origins can't be looked up."
        )
        raise InvalidOrigin("origin_label_too_long", message)
    found = WildcardIndex(_shapes(origin)).candidates(origin.text.encode())
    return sorted({origin.text, *(text.decode() for text in found)})


def _shapes(origin: OriginPattern) -> Iterator[str]:
    """A pattern of each shape that could match: of these the core reads where the `*` is, and not what is beside it."""
    yield f"{origin.scheme}://*"
    label, dot, parent = origin.host.partition(".")
    if not dot or label.startswith("["):
        return
    yield f"{origin.scheme}://*.{parent}"
    for fixed in range(MIN_FIXED_CHARACTERS, len(label)):
        for before in range(fixed + 1):
            yield f"{origin.scheme}://{'x' * before}*{'x' * (fixed - before)}.{parent}"
