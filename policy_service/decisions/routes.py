"""/v1/decisions"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import ValidationError

from policy_service.decisions import service
from policy_service.decisions.schemas import DecisionRequest, Explanation
from policy_service.errors import validation_problem
from policy_service.http.bodies import JsonBody
from policy_service.http.declarations import problems
from policy_service.http.dependencies import CallerDep, ChecksDep, SessionsDep
from policy_service.http.openapi import body_schema

router = APIRouter(prefix="/v1/decisions", tags=["decisions"])


@router.post(
    "",
    operation_id="explain",
    openapi_extra=body_schema(DecisionRequest),
    responses=problems(404, 410),
)
async def explain(sessions: SessionsDep, caller: CallerDep, checks: ChecksDep, body: JsonBody) -> Explanation:
    """What every service does with a request, why, and with which headers."""
    try:
        decision_request = DecisionRequest.model_validate(body)
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
    return await service.explain(sessions, caller, checks, decision_request)
