"""Keys, as requests ask for them and responses show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from corspolicy.core.names import is_slug
from policy_service.auth.callers import Role
from policy_service.http.timestamps import Timestamp

MAX_TENANTS = 100
DEFAULT_GRACE = timedelta(days=1)
MAX_GRACE = timedelta(days=30)
# So that a life as long as that of the key before, again and again, stays within what a date can say.
LAST_TIME = datetime(3000, 1, 1, tzinfo=UTC)


def _check_slug(value: str) -> str:
    if not is_slug(value):
        raise ValueError("a tenant must be 1 to 63 lower-case letters, digits and hyphens, such as acme")
    return value


def _check_printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("only printable characters")
    return value


def _check_future(value: datetime) -> datetime:
    if not datetime.now(UTC) < value < LAST_TIME:
        raise ValueError("must be in the future and before the year 3000, such as 2099-01-31T12:00:00Z")
    return value


Slug = Annotated[StrictStr, AfterValidator(_check_slug)]
Description = Annotated[StrictStr, Field(max_length=200), AfterValidator(_check_printable)]
Future = Annotated[Timestamp, AfterValidator(_check_future)]


class NewKey(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"role": "tenant", "tenants": ["acme"], "may_write": True, "description": "Acme's back office"}
            ]
        },
    )

    role: Role = Field(
        description="admin: everything; tenant: the policies of some tenants only; "
        "reader: reads everything, changes nothing"
    )
    tenants: list[Slug] | None = Field(
        default=None, min_length=1, max_length=MAX_TENANTS, description="the tenants of a key of role tenant"
    )
    may_write: StrictBool = Field(default=False, description="whether a key of role tenant may also change them")
    description: Description = ""
    expires_at: Future | None = Field(default=None, description="when it expires; null: never")

    @model_validator(mode="after")
    def _check_role(self) -> Self:
        if self.role is Role.TENANT and self.tenants is None:
            raise ValueError("a key of role tenant needs tenants")
        if self.role is not Role.TENANT and (self.tenants is not None or self.may_write):
            raise ValueError("only a key of role tenant has tenants and may_write")
        return self


class Rotation(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"grace_seconds": 3600}]})

    grace_seconds: int = Field(
        default=int(DEFAULT_GRACE.total_seconds()),
        ge=0,
        le=int(MAX_GRACE.total_seconds()),
        strict=True,
        description="how long the old key stays valid",
    )
    expires_at: Future | None = Field(
        default=None,
        description="when the new key expires; by default after the lifetime that the old one was created with",
    )


class KeyView(BaseModel):
    """A key as the API shows it."""

    id: str = Field(description="the middle of the key's text; changes name it as key:<id>")
    role: Role
    tenants: list[str] | None
    may_write: bool
    description: str
    state: Literal["active", "expired", "revoked"]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None = Field(description="the id of the key that it was rotated to")
    last_used_at: datetime | None = Field(description="to the minute or so")


class CreatedKey(KeyView):
    """A key just made."""

    key: str = Field(description="what to send; it is shown this once")


class KeyPage(BaseModel):
    """Some keys, the newest first."""

    items: list[KeyView]
    next_cursor: str | None = Field(default=None, description="pass it as `cursor` to read on; null at the end")
