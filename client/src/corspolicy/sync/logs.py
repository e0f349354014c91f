"""The client's logger, and what no log shows: what a terminal obeys, line breaks in a message, passwords in URLs.

What a log names comes from Redis and from requests, and whoever writes there must not control the terminal of whoever
reads it, nor forge a line.
"""

from __future__ import annotations

import logging
import re
import traceback
from textwrap import indent

MAX_CHARACTERS = 1000
"""So much is logged of one value: what comes from Redis may be of any length."""
_PASSWORDS = (
    # Whatever it holds unescaped, up to the last @ before a space or a quote.
    (re.compile(r"""(://[^\s:/?#@]*):[^\s"'<>]+@"""), r"\1:***@"),
    (re.compile(r"""([?&][a-z_]*password=)[^\s&"'<>]+"""), r"\1***"),
)


def printable(text: str) -> str:
    """The text with every control, bidi and other invisible character escaped, and the passwords of URLs masked."""
    for pattern, replacement in _PASSWORDS:
        text = pattern.sub(replacement, text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """The same, with its line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def excerpt(text: str) -> str:
    """The beginning of the text, printable; all of it, if it is not longer than MAX_CHARACTERS."""
    if len(text) > MAX_CHARACTERS:
        return f"{printable(text[:MAX_CHARACTERS])}… ({len(text):,} characters)"
    return printable(text)


def printable_traceback(record: logging.LogRecord) -> str | None:
    """The traceback of a record, every line of it indented; None where it has none."""
    if not record.exc_info or record.exc_info[0] is None:
        return None
    text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    return indent(printable_lines(text), "  ")


class PrintableFilter(logging.Filter):
    """Makes what is logged printable before any handler of the application sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and let it pass."""
        if isinstance(record.args, tuple):
            # Numbers as they are, for %d.
            record.args = tuple(
                value if isinstance(value, int | float) else excerpt(str(value)) for value in record.args
            )
        record.exc_text = printable_traceback(record)
        return True


logger = logging.getLogger("corspolicy")
logger.addFilter(PrintableFilter())
