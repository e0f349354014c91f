"""What is asked and explained about a decision."""

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
# As much as fits into a body of the default size.
MAX_PASTED_CHARACTERS = 1_000_000


def _as_list(value: Any) -> Any:
    if isinstance(value, list) and len(value) > MAX_LINES:
        raise ValueError(f"A header has at most {MAX_LINES} lines.")
    return [value] if isinstance(value, str) else value


_LINES = {"type": "array", "items": {"type": "string"}}
Values = Annotated[list[str], BeforeValidator(_as_list), WithJsonSchema({"anyOf": [{"type": "string"}, _LINES]})]


class DecisionRequest(BaseModel):
    """A request to a tenant's service as a browser sends it, and what to decide on it with."""

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
        description="a pasted request, instead of method and headers: copied from a browser's developer tools (as "
        "cURL, as fetch, as HAR, or its headers), the output of `curl -v`, a curl command, or a raw request",
        examples=["OPTIONS /invoices HTTP/1.1\r\nOrigin: https://app.acme.com\r\nAccess-Control-Request-Method: PUT"],
    )
    entry: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="which request, from 1, of a paste that has several, such as a HAR; by default the first that has "
        "an Origin",
    )
    revision: int | None = Field(
        default=None,
        ge=1,
        le=MAX_REVISION,
        strict=True,
        description="decide as at this revision of the tenant, instead of now",
    )
    draft: Annotated[Any, WithJsonSchema({"anyOf": [POLICY_BODY, {"type": "null"}]})] = Field(
        default=None, description="decide as if this were the service's policy, written as for PUT but not saved"
    )
    at: Timestamp | None = Field(default=None, description="decide at this time, for entries that expire")

    @model_validator(mode="after")
    def _one_request(self) -> Self:
        if self.request is not None and self.model_fields_set & {"method", "headers"}:
            raise ValueError("Pass either request, or method and headers.")
        if self.request is None and self.entry is not None:
            raise ValueError("Pass entry only with a pasted request.")
        return self


class DecidedRequest(BaseModel):
    """The request that was decided on."""

    read_from: str | None = Field(description="which part of a pasted request this is; null if nothing was pasted")
    method: str
    origin: str | None
    requested_method: str | None = Field(description="Access-Control-Request-Method")
    requested_headers: str | None = Field(description="Access-Control-Request-Headers")


class DecidingPolicy(BaseModel):
    """The policy that decided."""

    tenant: str
    service: str


class NearMiss(BaseModel):
    """Something slightly different that is allowed, or would be."""

    differences: list[str] = Field(
        description="how it differs: scheme, port, www, subdomain (sent from a subdomain, only its domain is listed), "
        "apex (the reverse), loopback, preview, spelling, expired, other_service, null_origin, repeated, method, "
        "method_case, method_forbidden, headers, headers_forbidden, headers_response_only; or, where the Origin is "
        "not valid, the code of what is wrong with it",
        examples=[["scheme"], ["origin_path"]],
    )
    message: str = Field(description="the same in words, and what to do")
    origin: str | None = Field(default=None, description="the origin that is allowed, if the difference is in it")
    policy: DecidingPolicy | None = Field(default=None, description="the policy that allows it")
    pattern: str | None = Field(default=None, description="the policy's pattern that allows it")


class Explanation(BaseModel):
    """What every service does with the request, and why."""

    allowed: bool
    reason: Reason
    message: str = Field(description="the reason in a sentence, and what to do about it")
    decided_on: DecidedRequest
    policy: DecidingPolicy | None = Field(description="the policy that allows the origin, if one does")
    pattern: str | None = Field(description="the policy's pattern that allows it; null if the key may not see it")
    status: int | None = Field(
        description="the status of a preflight's response; null where the service's app responds"
    )
    headers: list[tuple[str, str]] = Field(description="the header lines that the response gets")
    revision: int | None = Field(description="the tenant's revision that decided; null if there is no such tenant")
    near_misses: list[NearMiss] = Field(description="for a denial: what is allowed and near, the nearest first")
