"""The OpenAPI document: what it says beyond what the framework finds in the routes.

Which problems go with what a request carries stands here; a route names those that its service raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from policy_service.http.examples import EXAMPLES
from policy_service.http.problems import ProblemDetails

SCHEMAS = "#/components/schemas/"

_TEXT = {"type": "string"}
_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Cache-Control": ("no-store: the key is shown this once", _TEXT),
    "ETag": ("the revision of the tenant's document, for If-Match", {"type": "string", "pattern": '^"[0-9]+"$'}),
    "Idempotency-Replayed": ("the answer to the request when it was sent first", {"type": "string", "const": "true"}),
    "Location": ("where it is", {"type": "string", "format": "uri-reference"}),
    "Preference-Applied": ("that it was waited for, and how long at most", _TEXT),
    "Retry-After": ("after how many seconds to try again", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("how to authenticate", _TEXT),
}


def header(name: str, *, required: bool = True) -> dict[str, Any]:
    """What a route says of a header of its answers; one that is not required may be missing."""
    description, schema = _HEADERS[name]
    return {name: {"description": description, "required": required, "schema": schema}}


# Each status: its name in the document, what it means, and the headers that it comes with.
_PROBLEMS: dict[int, tuple[str, str, dict[str, Any]]] = {
    400: ("BadRequest", "A header, the cursor or the body can't be read", {}),
    401: ("Unauthorized", "There is no valid key", header("WWW-Authenticate")),
    403: ("Forbidden", "The key may not do this", {}),
    404: ("NotFound", "It is not there, or not for this key", {}),
    409: (
        "Conflict",
        "What is there forbids it; or it takes much away, and was not confirmed; or the same request is in progress",
        header("Location", required=False) | header("Retry-After", required=False),
    ),
    412: ("PreconditionFailed", "If-Match names another revision than the present one", header("ETag")),
    413: ("ContentTooLarge", "The body is too large", {}),
    422: ("UnprocessableContent", "What was sent is not valid: see errors", {}),
    428: ("PreconditionRequired", "Without If-Match this could overwrite somebody's change", {}),
    429: ("TooManyRequests", "The key, or wrong keys from the address, came too often", header("Retry-After")),
    503: ("ServiceUnavailable", "This can't be done right now", header("Retry-After", required=False)),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route says of the problems that its service raises."""
    return {status: {} for status in statuses}


def body_schema(body: dict[str, Any] | type[BaseModel]) -> dict[str, Any]:
    """What a route says of a body that is read as JSON values, so that all its problems can be told at once."""
    schema = body if isinstance(body, dict) else _schema_of(body)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def printable(max_length: int | None = None) -> dict[str, Any]:
    """The schema of a header of printable ASCII characters."""
    return {"minLength": 1, "pattern": "^[ -~]+$"} | ({} if max_length is None else {"maxLength": max_length})


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document declares every answer."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            _complete(super().openapi())
        assert self.openapi_schema is not None
        return self.openapi_schema


def _complete(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    document["components"]["responses"] = {
        name: {
            "description": description,
            "content": {"application/problem+json": {"schema": {"$ref": f"{SCHEMAS}ProblemDetails"}}},
            "headers": headers,
        }
        for name, description, headers in _PROBLEMS.values()
    }
    _named(schemas, _schema_of(ProblemDetails))
    for operation in _operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            media["schema"] = _named(schemas, media["schema"])
        for parameter in operation.get("parameters", []):
            parameter["schema"] = _without_null(parameter["schema"])
        _declare_problems(operation)
        _declare_extras(operation)
    # The framework's own form of a 422.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template=SCHEMAS + "{model}")


def _named(schemas: dict[str, Any], schema: Any) -> Any:
    """That schema, with every object in it that has a title put among the schemas that have names."""
    if isinstance(schema, list):
        return [_named(schemas, part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schemas |= schema.get("$defs", {})
    parts = {name: part if name == "examples" else _named(schemas, part) for name, part in schema.items()}
    parts.pop("$defs", None)
    if not {"title", "properties"} <= parts.keys():
        return parts
    schemas[parts["title"]] = parts
    return {"$ref": SCHEMAS + parts["title"]}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter: one that may be left out is never null."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    return {name: part for name, part in [*schema.items(), *options[0].items()] if name != "anyOf"}


def _declare_problems(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    # The framework's guess.
    if "content" in responses.get("422", {}):
        del responses["422"]
    named = {int(status) for status, response in responses.items() if status[0] in "45" and "content" not in response}
    for status in sorted(named | _implied_problems(operation)):
        responses[str(status)] = {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"}
    operation["responses"] = dict(sorted(responses.items()))


def _implied_problems(operation: dict[str, Any]) -> set[int]:
    """The problems that go with what a request of the operation carries."""
    parameters = {parameter["name"]: parameter for parameter in operation.get("parameters", [])}
    found = set[int]()
    if "security" in operation:
        # 422 everywhere: an unknown query parameter is refused.
        found |= {400, 401, 422, 429, 503}
    if "requestBody" in operation:
        found |= {413}
    if "Corspolicy-Reason" in parameters:
        found |= {403}
    if "Idempotency-Key" in parameters:
        found |= {409}
    if any(parameter["in"] == "path" for parameter in parameters.values()):
        found |= {404}
    return found


def _declare_extras(operation: dict[str, Any]) -> None:
    """Declare what else of an answer goes with what a request carries: its headers, and what was waited for."""
    parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
    for status, response in operation["responses"].items():
        if status[0] != "2":
            continue
        headers = response.get("headers", {})
        if "If-Match" in parameters:
            # A dry run has none if there is no such tenant.
            headers |= header("ETag", required=status != "200")
        if "Idempotency-Key" in parameters:
            headers |= header("Idempotency-Replayed", required=False)
        if "Prefer" in parameters and "content" in response:
            headers |= header("Preference-Applied", required=False)
            schema = response["content"]["application/json"]["schema"]
            schema["properties"] = {"propagation": {"$ref": f"{SCHEMAS}Propagation"}}
        if headers:
            response["headers"] = headers
