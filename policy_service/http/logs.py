"""What no log shows: characters that a terminal obeys, line breaks within a message, and passwords in URLs."""

from __future__ import annotations

import logging
import re
import traceback
from textwrap import indent
from typing import Any

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


class SafeRecord(logging.LogRecord):
    """A record that is printable however it is formatted. Of a traceback every line is, indented."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.args, tuple):
            # Some formatters, such as that of uvicorn's access log, write the arguments themselves.
            self.args = tuple(printable(value) if isinstance(value, str) else value for value in self.args)
        if self.exc_info and self.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*self.exc_info)).rstrip("\n")
            self.exc_text = indent(printable_lines(text), "  ")

    def getMessage(self) -> str:  # noqa: N802 - the name of the standard library
        """The message, printable."""
        return printable(super().getMessage())


def install_safe_records() -> None:
    """Make the records of all loggers of this process safe, whichever handlers they have."""
    logging.setLogRecordFactory(SafeRecord)
