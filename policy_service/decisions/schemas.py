"""What is asked and answered about a decision."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from corspolicy.core.decision import Reason
from policy_service.documents.schemas import POLICY_BODY
from policy_service.http.timestamps import Timestamp
from policy_service.models import MAX_REVISION

MAX_LINES = 100
MAX_PASTED_CHARACTERS = 16_384


def _as_list(value: Any) -> Any:
    if isinstance(value, list) and len(value) > MAX_LINES:
        raise ValueError(f"a header comes in at most {MAX_LINES} lines")
    return [value] if isinstance(value, str) else value


_LINES = {"type": "array", "items": {"type": "string"}}
Values = Annotated[list[str], BeforeValidator(_as_list), WithJsonSchema({"anyOf": [{"type": "string"}, _LINES]})]


class Question(BaseModel):
    """A request as a browser would send it, to a tenant's service, and against what to hold it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "tenant": "acme",
                    "service": "billing",
                    "method": "OPTIONS",
                    "headers": {"Origin": "https://app.acme.com", "Access-Control-Request-Method": "PUT"},
                }
            ]
        },
    )

    tenant: str = Field(max_length=200)
    service: str = Field(default="default", max_length=200)
    method: str = Field(default="GET", max_length=200)
    headers: dict[str, Values] = Field(
        default_factory=dict, max_length=100, description="a list where a header is sent in several lines"
    )
    request: str | None = Field(
        default=None,
        max_length=MAX_PASTED_CHARACTERS,
        description="the head of a request, instead of method and headers: raw, as `curl -v` prints it, or as copied "
        "from a browser's developer tools",
        examples=["OPTIONS /invoices HTTP/1.1\r\nOrigin: https://app.acme.com\r\nAccess-Control-Request-Method: PUT"],
    )
    revision: int | None = Field(
        default=None,
        ge=1,
        le=MAX_REVISION,
        strict=True,
        description="decide as things stood at this revision of the tenant, instead of now",
    )
    draft: Annotated[Any, WithJsonSchema({"anyOf": [POLICY_BODY, {"type": "null"}]})] = Field(
        default=None, description="decide as if this were the policy of the service, written as for PUT but not saved"
    )
    at: Timestamp | None = Field(default=None, description="decide at this moment, for entries that expire")

    @model_validator(mode="after")
    def _one_request(self) -> Self:
        if self.request is not None and self.model_fields_set & {"method", "headers"}:
            raise ValueError("pass either request, or method and headers")
        return self


class DecidingPolicy(BaseModel):
    """The policy that decided."""

    tenant: str
    service: str


class NearMiss(BaseModel):
    """Something a little different that is admitted, or would have been."""

    differences: list[str] = Field(
        description="in what it differs: scheme, port, www, subdomain (sent from one, only its domain is listed), apex "
        "(the reverse), loopback, spelling, expired, other_service, null_origin, repeated, method, method_case, "
        "headers; or, where no browser sends such an Origin, the code of what is wrong with its form",
        examples=[["scheme"], ["origin_path"]],
    )
    message: str = Field(description="the same in words, and what to do")
    origin: str | None = Field(default=None, description="the origin that is admitted, if that is what differs")
    policy: DecidingPolicy | None = Field(default=None, description="the policy that admits it")
    pattern: str | None = Field(default=None, description="its pattern that does")


class Answer(BaseModel):
    """What every service would do with the request, and why."""

    allowed: bool
    reason: Reason
    message: str = Field(description="the reason in a sentence, and what to do about it")
    policy: DecidingPolicy | None = Field(description="the policy that admits the origin, if one does")
    pattern: str | None = Field(description="its pattern that does; null if the key may not see it")
    status: int | None = Field(description="the status of a preflight's answer; null where the service's app answers")
    headers: list[tuple[str, str]] = Field(description="the lines that the response gets")
    revision: int | None = Field(description="the tenant's revision that was asked; null if there is no such tenant")
    near_misses: list[NearMiss] = Field(description="of a refusal: what is admitted and near, the nearest first")
