"""Timestamps as callers send them: RFC 3339, and nothing else that could be read as one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from corspolicy.core.validation import RFC_3339


def _check_form(value: Any) -> Any:
    # A bare number would be read as seconds, or as milliseconds if it is large.
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise ValueError("must be a time in RFC 3339 form with its zone, such as 2099-01-31T12:00:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not a valid time in UTC") from error


Timestamp = Annotated[AwareDatetime, BeforeValidator(_check_form), AfterValidator(_in_utc)]
