"""Reads what processes said of themselves; they may be of another version, or not ours at all."""

from __future__ import annotations

from pydantic import ValidationError

from corspolicy.status import Report
from policy_service.fleet.schemas import ProcessReport


def read_report(report: bytes | None) -> ProcessReport | None:
    """What a process said of itself; None if that can't be read: it must not hide the others."""
    if report is None:
        return None
    try:
        return ProcessReport.model_validate(Report.from_bytes(report))
    except (ValueError, ValidationError, RecursionError):
        return None
