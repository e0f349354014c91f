"""The end of a dry run, in place of what would be written."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from policy_service.changes.schemas import DryRun
from policy_service.requests import etag


class DryRunDone(Exception):
    """Everything was checked, and nothing is to be written: it ends the transaction, and is no error."""

    def __init__(self, outcome: DryRun) -> None:
        super().__init__(outcome.tenant)
        self.outcome = outcome


def install_dry_run_handler(app: FastAPI) -> None:
    """Answer every dry run with what the change would do."""
    app.add_exception_handler(DryRunDone, _answer)


async def _answer(request: Request, done: Exception) -> Response:
    assert isinstance(done, DryRunDone)
    revision = done.outcome.revision
    headers = {} if revision is None else {"ETag": etag(revision)}
    return Response(done.outcome.model_dump_json(), headers=headers, media_type="application/json")


# For routes that answer a change with no body, or with 201.
DRY_RUN: dict[int | str, dict[str, Any]] = {200: {"model": DryRun, "description": "With `dry_run`"}}
