"""/v1/fleet"""

from __future__ import annotations

from fastapi import APIRouter, Request

from policy_service.fleet import service
from policy_service.fleet.poller import FleetPoller
from policy_service.fleet.schemas import Fleet
from policy_service.http.dependencies import CallerOf
from policy_service.http.openapi import problems

router = APIRouter(prefix="/v1/fleet", tags=["fleet"])


@router.get("", operation_id="get_fleet", responses=problems(403))
async def get_fleet(request: Request, caller: CallerOf) -> Fleet:
    """The live processes that apply policies, and whether each holds what is published."""
    caller.require_all_tenants()
    poller: FleetPoller = request.app.state.fleet
    return await service.read(poller)
