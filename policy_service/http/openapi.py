"""The OpenAPI document, beyond what the framework finds in the routes.

What a dependency can answer is declared beside it (`declarations.py`); a route names what its service raises.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from policy_service.http.declarations import Declaration, declarations, header
from policy_service.http.examples import EXAMPLES
from policy_service.http.problems import ProblemDetails

SCHEMAS = "#/components/schemas/"

# Each status: its name in the document, what it means, and the headers that it comes with.
_PROBLEMS: dict[int, tuple[str, str, dict[str, Any]]] = {
    400: ("BadRequest", "A header, the cursor or the body is malformed", {}),
    401: ("Unauthorized", "No valid key", header("WWW-Authenticate")),
    403: ("Forbidden", "The key may not do this", {}),
    404: ("NotFound", "Not found, or not visible to this key", {}),
    408: ("RequestTimeout", "The body took too long", {}),
    409: (
        "Conflict",
        "Conflicts with what exists, removes much without confirmation, or is already in progress",
        header("Location", required=False) | header("Retry-After", required=False),
    ),
    410: ("Gone", "The document of that revision is no longer stored", {}),
    412: ("PreconditionFailed", "If-Match names another revision than the current one", header("ETag")),
    413: ("ContentTooLarge", "The body is too large", {}),
    422: ("UnprocessableContent", "The request is not valid: see errors", {}),
    428: ("PreconditionRequired", "Without If-Match this could overwrite another change", {}),
    429: (
        "TooManyRequests",
        "Too many requests with this key, or too many malformed keys from this address",
        header("Retry-After"),
    ),
    503: ("ServiceUnavailable", "Temporarily unavailable", header("Retry-After", required=False)),
}


def body_schema(body: dict[str, Any] | type[BaseModel]) -> dict[str, Any]:
    """The declaration of a body that is read as JSON values, so that all its errors can be reported at once."""
    schema = body if isinstance(body, dict) else _schema_of(body)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document declares every response."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"]["schemas"]
            document["components"]["responses"] = _problem_responses()
            _named(schemas, _schema_of(ProblemDetails))
            for route in iter_route_contexts(self.routes):
                for method in document["paths"].get(route.path_format, {}).keys() & map(str.lower, route.methods or ()):
                    operation = document["paths"][route.path_format][method]
                    _complete(operation, schemas, list(declarations(route.dependant)))
            # The framework's own form of a 422.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for name, example in EXAMPLES.items():
                schemas[name]["examples"] = [example]
        assert self.openapi_schema is not None
        return self.openapi_schema


def _problem_responses() -> dict[str, Any]:
    return {
        name: {
            "description": description,
            "content": {"application/problem+json": {"schema": {"$ref": f"{SCHEMAS}ProblemDetails"}}},
            "headers": headers,
        }
        for name, description, headers in _PROBLEMS.values()
    }


def _complete(operation: dict[str, Any], schemas: dict[str, Any], declared: list[Declaration]) -> None:
    for media in operation.get("requestBody", {}).get("content", {}).values():
        media["schema"] = _named(schemas, media["schema"])
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _without_null(parameter["schema"])
    _declare_problems(operation, declared)
    _declare_headers(operation, {name for declaration in declared for name in declaration.headers})


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


def _declare_problems(operation: dict[str, Any], declared: list[Declaration]) -> None:
    responses = operation["responses"]
    # The framework's guess.
    if "content" in responses.get("422", {}):
        del responses["422"]
    statuses = {
        int(status) for status, response in responses.items() if status[0] in "45" and "content" not in response
    }
    statuses |= {status for declaration in declared for status in declaration.statuses}
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        statuses |= {404}
    for status in sorted(statuses):
        responses[str(status)] = {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"}
    operation["responses"] = dict(sorted(responses.items()))


def _declare_headers(operation: dict[str, Any], names: set[str]) -> None:
    """Declare the headers that dependencies add to successful responses, and the member that goes with one of them."""
    for status, response in operation["responses"].items():
        if status[0] != "2":
            continue
        headers = response.get("headers", {})
        if "ETag" in names:
            # The dry run of a creation has none.
            headers |= header("ETag", required=status != "200")
        if "Idempotency-Replayed" in names:
            headers |= header("Idempotency-Replayed", required=False)
        if "Preference-Applied" in names and "content" in response:
            headers |= header("Preference-Applied", required=False)
            schema = response["content"]["application/json"]["schema"]
            schema["properties"] = {"propagation": {"$ref": f"{SCHEMAS}Propagation"}}
        if headers:
            response["headers"] = headers
