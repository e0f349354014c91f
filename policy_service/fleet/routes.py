"""/v1/fleet"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from policy_service.fleet import service
from policy_service.fleet.poller import FleetPoller
from policy_service.fleet.schemas import Fleet
from policy_service.http.container import part
from policy_service.http.declarations import problems
from policy_service.http.dependencies import CallerDep

router = APIRouter(prefix="/v1/fleet", tags=["fleet"])


@router.get("", operation_id="get_fleet", responses=problems(403))
async def get_fleet(poller: Annotated[FleetPoller, part(FleetPoller)], caller: CallerDep) -> Fleet:
    """The live processes that apply policies, and whether each holds what is published."""
    caller.require_all_tenants()
    return await service.read(poller)
