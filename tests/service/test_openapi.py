"""The OpenAPI document: complete, and true. Whatever is asked by it, the service answers as it declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator

from policy_service.app import create_app
from policy_service.settings import Settings
from tests import servers
from tests.conftest import service_environment
from tests.service.helpers import new_key
from tests.support import Api, Process, running

# Which statuses are right for what, beside those that schemathesis takes for granted.
POSITIVE = ["2xx", "403", "404", "409", "412", "422", "428"]
"""What has the declared form may still contradict itself or what is there. It is never malformed, though: no 400."""
NEGATIVE = ["400", "401", "403", "404", "405", "412", "422", "428"]
"""What has not is refused, by whatever is looked at first."""


def _schema() -> Any:
    settings = Settings(database_url="postgresql://unused", redis_url="redis://unused")
    config = schemathesis.Config()
    project = config.projects.default
    project.generation.deterministic = True
    project.checks.positive_data_acceptance.expected_statuses = POSITIVE
    project.checks.negative_data_rejection.expected_statuses = NEGATIVE
    # Asks again with other keys: test_errors and test_scopes do, for every operation.
    project.checks.ignored_auth.enabled = False
    # Look at chains of requests; this sends each alone.
    project.checks.use_after_free.enabled = False
    project.checks.ensure_resource_availability.enabled = False
    return schemathesis.openapi.from_dict(create_app(settings).openapi(), config=config)


SCHEMA = _schema()
DOCUMENT: dict[str, Any] = SCHEMA.raw_schema
OPERATIONS = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str]) -> Iterator[Process]:
    with servers.redis() as redis_url:
        environment = {
            **service_environment(new_database(), redis_url),
            "CORSPOLICY_RATE_LIMIT_BURST": "1000000",
            "CORSPOLICY_FAILED_AUTHENTICATIONS_PER_MINUTE": "1000000",
        }
        with running("policy_service.app:create_app", environment) as process:
            yield process


class Known:
    """What there is, for one operation to find, and the key that it is called with."""

    def __init__(self, api: Api, role: str) -> None:
        tenant = api.new_tenant()
        entry = api.allow(tenant, "https://a.example.com")["id"]
        revision = api.http.get(f"/v1/tenants/{tenant}").json()["revision"]
        other = new_key(api, role="reader")["id"]
        self.parts = {"tenant": tenant, "service": "default", "entry": entry, "key": other, "revision": revision}
        own = {"tenants": [tenant], "may_write": True} if role == "tenant" else {}
        self.key = new_key(api, role=role, **own)["key"]
        self.role = role
        self.count = 0


@pytest.fixture(params=["admin", "tenant"])
def known(api: Api, request: pytest.FixtureRequest) -> Known:
    return Known(api, request.param)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@SCHEMA.parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=6,
    derandomize=True,
    database=None,
    deadline=None,
    # What fails is shown as it was sent: what it met there is not there again for a smaller one.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_declares(
    case: schemathesis.Case[Any], api: Api, known: Known, session: requests.Session
) -> None:
    is_valid = case.meta.generation.mode.is_positive
    if known.role == "tenant" and not is_valid and case.meta.phase.name == "coverage":
        # One fault at a time, thousands of them: sent with one key. Random faults are sent with both.
        return
    if is_valid:
        # Of random names nothing would be found; of cursors only those work that were given out.
        case.path_parameters.update({name: known.parts[name] for name in case.path_parameters})
        case.query.pop("cursor", None)
        if "Corspolicy-Reason" in case.headers:
            # Percent-encoded UTF-8, which a pattern can't tell.
            case.headers["Corspolicy-Reason"] = quote(case.headers["Corspolicy-Reason"])
        if isinstance(case.body, dict) and "revision" in case.body:
            case.body["revision"] = known.parts["revision"]
        known.count += 1
        if known.count % 2 and "If-Match" in case.headers:
            case.headers["If-Match"] = "*"
    # What frames a request is the HTTP server's: it rejects nonsense before the application sees the request.
    for name in [name for name in case.headers if name.lower() in ("content-length", "transfer-encoding")]:
        del case.headers[name]
    headers = {"Authorization": f"Bearer {known.key}"}
    answer = case.call(str(api.http.base_url), session, headers)
    case.validate_response(answer, headers=headers)


def test_the_service_has_that_document(api: Api) -> None:
    assert api.http.get("/openapi.json").json() == DOCUMENT


def test_operations_are_called_by_names_of_their_own_that_are_identifiers() -> None:
    assert sum(map(len, DOCUMENT["paths"].values())) == len(OPERATIONS)
    for name in OPERATIONS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_problem_is_declared_by_its_status_and_none_in_another_form(name: str) -> None:
    operation = OPERATIONS[name]
    refusals = {status: _resolved(answer) for status, answer in operation["responses"].items() if status[0] != "2"}
    if "security" not in operation:
        assert set(refusals) <= {"503"}
        return
    assert {"400", "401", "429", "503"} <= set(refusals)
    assert "default" not in refusals
    for refusal in refusals.values():
        assert refusal["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
        }


def _resolved(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        *_, kind, name = value["$ref"].split("/")
        value = DOCUMENT["components"][kind][name]
    return value


@pytest.mark.parametrize("name", OPERATIONS)
def test_bodies_and_answers_have_examples_that_are_valid(name: str) -> None:
    operation = OPERATIONS[name]
    contents = [_resolved(response).get("content", {}) for response in operation["responses"].values()]
    contents.append(operation.get("requestBody", {}).get("content", {}))
    for content in contents:
        for kind, media in content.items():
            if kind == "text/event-stream":
                assert media["example"].startswith("id: ")
                continue
            for option in media["schema"].get("anyOf", [media["schema"]]):
                examples = _resolved(option)["examples"]
                assert examples
                for example in examples:
                    _validator(media["schema"]).validate(example)


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    whole = {**schema, "components": DOCUMENT["components"]}
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
