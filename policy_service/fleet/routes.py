"""/v1/fleet"""

from __future__ import annotations

from fastapi import APIRouter

from policy_service.fleet import service
from policy_service.fleet.schemas import Fleet
from policy_service.http.declarations import problems
from policy_service.http.dependencies import CallerDep, RedisDep, SessionsDep

router = APIRouter(prefix="/v1/fleet", tags=["fleet"])


@router.get("", operation_id="get_fleet", responses=problems(403))
async def get_fleet(sessions: SessionsDep, redis: RedisDep, caller: CallerDep) -> Fleet:
    """The live processes that apply policies, and whether each holds what is published."""
    caller.require_all_tenants()
    return await service.read(sessions, redis)
