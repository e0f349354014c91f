"""What tenants, services and display names may be, as errors for callers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from corspolicy.core.names import is_service
from corspolicy.core.validation import json_pointer
from policy_service.errors import ErrorItem, Problem

TENANT_RULE = "A tenant must be 1 to 63 lower-case letters, digits and hyphens, such as acme."
SERVICE_RULE = "A service must be 1 to 63 lower-case letters, digits, dots, hyphens and underscores, such as billing."
MAX_NAME_LENGTH = 200


def require_service_name(service: str) -> None:
    """Raise Problem 422 for what is not a valid service name."""
    if not is_service(service):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-service", SERVICE_RULE)


def name_errors(name: Any) -> list[ErrorItem]:
    """What is wrong with a display name."""
    # Printable is also what PostgreSQL and UTF-8 can hold.
    if isinstance(name, str) and len(name) <= MAX_NAME_LENGTH and name.isprintable():
        return []
    detail = f"A name must be a text of at most {MAX_NAME_LENGTH} printable characters."
    return [ErrorItem(code="name_invalid", pointer="/name", detail=detail)]


def unknown_fields(body: Any, known: tuple[str, ...]) -> list[ErrorItem]:
    """What is wrong with a body as a whole: it is not an object, or has other fields than the `known` ones."""
    if not isinstance(body, dict):
        return [ErrorItem(code="not_an_object", pointer="", detail="The body must be a JSON object.")]
    detail = f"Unknown field: use {', '.join(known)}."
    return [
        ErrorItem(code="unknown_field", pointer=json_pointer(name), detail=detail) for name in body if name not in known
    ]
