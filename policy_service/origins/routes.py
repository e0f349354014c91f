"""/v1/origins"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from corspolicy.core.origins import MAX_ORIGIN_BYTES
from policy_service.http.bodies import Cursor, Limit
from policy_service.http.declarations import problems
from policy_service.http.dependencies import CallerDep, SessionsDep
from policy_service.origins import service
from policy_service.origins.schemas import AllowingPage

router = APIRouter(prefix="/v1/origins", tags=["origins"])


@router.get("", operation_id="find_origin", responses=problems(400, 422))
async def find_origin(
    sessions: SessionsDep,
    caller: CallerDep,
    origin: Annotated[
        str,
        Query(
            max_length=MAX_ORIGIN_BYTES,
            description="an origin such as https://app.example.com; also a pattern such as https://*.example.com, for "
            "the entries that allow all that it does, or `*`, for those that allow every origin",
            examples=["https://app.acme.com"],
        ),
    ],
    cursor: Cursor = None,
    limit: Limit = 100,
) -> AllowingPage:
    """Who allows an origin: every tenant, policy and pattern, wildcards included, in pages."""
    return await service.find(sessions, caller.scope, origin, cursor, limit)
