"""What is asked and answered about a decision."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from corspolicy.decision import Reason

MAX_LINES = 100


def _as_list(value: Any) -> Any:
    if isinstance(value, list) and len(value) > MAX_LINES:
        raise ValueError(f"a header comes in at most {MAX_LINES} lines")
    return [value] if isinstance(value, str) else value


_LINES = {"type": "array", "items": {"type": "string"}}
Values = Annotated[list[str], BeforeValidator(_as_list), WithJsonSchema({"anyOf": [{"type": "string"}, _LINES]})]


class Question(BaseModel):
    """A request as a browser would send it, to a tenant's service."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "tenant": "acme",
                "service": "billing",
                "method": "OPTIONS",
                "headers": {"Origin": "https://app.acme.com", "Access-Control-Request-Method": "PUT"},
            }
        },
    )

    tenant: str = Field(max_length=200)
    service: str = Field(default="default", max_length=200)
    method: str = Field(default="GET", max_length=200)
    headers: dict[str, Values] = Field(
        default_factory=dict, max_length=100, description="a list where a header is sent in several lines"
    )


class DecidingPolicy(BaseModel):
    """The policy that decided."""

    tenant: str
    service: str


class Answer(BaseModel):
    """What every service would do with the request, and why."""

    allowed: bool
    reason: Reason
    message: str = Field(description="the reason in words")
    policy: DecidingPolicy | None = Field(description="the policy that admits the origin, if one does")
    pattern: str | None = Field(description="its pattern that does; null if the key may not see it")
    status: int | None = Field(description="the status of a preflight's answer; null where the service's app answers")
    headers: list[tuple[str, str]] = Field(description="the lines that the response gets")
    revision: int | None = Field(description="the tenant's revision that was asked; null if there is no such tenant")
