"""How a dry run is answered."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from policy_service.changes.dry_run import DryRun, DryRunDone
from policy_service.changes.preconditions import etag


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
