"""What no log of the service shows, whoever writes it: see `corspolicy.sync.logs`."""

from __future__ import annotations

import logging
from typing import Any

from corspolicy.sync.logs import printable, printable_lines, printable_traceback

__all__ = ["SafeRecord", "install_safe_records", "printable", "printable_lines"]


class SafeRecord(logging.LogRecord):
    """A record that is printable however it is formatted. Of a traceback every line is, indented."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.args, tuple):
            # Some formatters, such as that of uvicorn's access log, write the arguments themselves.
            self.args = tuple(printable(value) if isinstance(value, str) else value for value in self.args)
        self.exc_text = printable_traceback(self)

    def getMessage(self) -> str:  # noqa: N802 - the name of the standard library
        """The message, printable."""
        return printable(super().getMessage())


def install_safe_records() -> None:
    """Make the records of all loggers of this process safe, whichever handlers they have."""
    logging.setLogRecordFactory(SafeRecord)
