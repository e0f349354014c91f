"""What only some installations have: the extras of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import click

_OWN_PACKAGES = ("corspolicy", "policy_service")


@contextmanager
def extra(name: Literal["server", "embedded"], what: str) -> Iterator[None]:
    """Import, within the block, what an extra brings; `what` needs it.

    Raises click.ClickException with the extra to install where a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OWN_PACKAGES:
            raise
        text = f"{what} needs {missing}, which is not installed: pip install 'corspolicy-service[{name}]'"
        raise click.ClickException(text) from error
