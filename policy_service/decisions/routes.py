"""/v1/decisions"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import ValidationError

from policy_service.decisions import service
from policy_service.decisions.schemas import Answer, Question
from policy_service.errors import validation_problem
from policy_service.http.bodies import JsonBody
from policy_service.http.declarations import problems
from policy_service.http.dependencies import CallerDep, SessionsDep
from policy_service.http.openapi import body_schema

router = APIRouter(prefix="/v1/decisions", tags=["decisions"])


@router.post(
    "",
    operation_id="explain",
    openapi_extra=body_schema(Question),
    responses=problems(404),
)
async def explain(sessions: SessionsDep, caller: CallerDep, body: JsonBody) -> Answer:
    """What every service would do with a request, why, and with which headers."""
    try:
        question = Question.model_validate(body)
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
    return await service.explain(sessions, caller.scope, question)
