"""Refusals: who has no key, what is no JSON, what is too large, what is not there; never an error of the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.service.helpers import Operation, forged, problem, raw
from tests.support import Api, Process

LIMIT = 1024 * 1024

# What takes a body, and what it refuses it with.
WRITES = [
    ("POST", "/v1/tenants"),
    ("PATCH", "/v1/tenants/platform"),
    ("PUT", "/v1/tenants/platform/policies/default"),
    ("POST", "/v1/tenants/platform/policies/default/origins"),
    ("PATCH", "/v1/tenants/platform/policies/default/origins/x"),
    ("POST", "/v1/tenants/platform/restore"),
    ("POST", "/v1/decisions"),
    ("POST", "/v1/keys"),
    ("POST", "/v1/keys/self/rotate"),
]


@pytest.fixture(scope="module")
def http(service: Process) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=service.url) as http:
        yield http


def test_a_document_over_its_limit_is_rejected_with_what_is_large(api: Api) -> None:
    tenant = api.new_tenant()
    assert api.put_policy(tenant, {"expose_headers": ["x" * 1_000_000]}).status_code == 200
    before = api.http.get(f"/v1/tenants/{tenant}").json()
    entries = [{"pattern": f"https://a{number}.example.com", "note": "ü" * 500} for number in range(50)]
    answer = api.put_policy(tenant, {"allow_origins": entries}, "noted")
    found = problem(answer, 422, "document-too-large")
    assert "at most 1048576 (CORSPOLICY_MAX_DOCUMENT_BYTES)" in found["detail"]
    assert [item["pointer"] for item in found["errors"]] == ["/policies/default", "/policies/noted"]
    assert "50 origins, 50000 bytes of notes" in found["errors"][1]["detail"]
    assert api.http.get(f"/v1/tenants/{tenant}").json() == before
    assert api.put_policy(tenant, {}).status_code == 200
    assert api.put_policy(tenant, {"allow_origins": entries}, "noted").status_code == 201


def test_the_wrong_secret_of_a_right_id_and_the_right_one_in_any_case_of_bearer(api: Api, http: httpx.Client) -> None:
    key = _key(api)
    assert _get(http, f"Bearer {key}") == 200
    assert _get(http, f"bearer {key}") == 200
    flipped = key[:-1] + ("0" if key[-1] != "0" else "1")
    for wrong in (
        flipped,
        forged(key, secret="0" * 64),
        forged(key, id="0" * 12),
        key[:-1],
        key + "0",
        key.upper(),
        key.rpartition("_")[0] + "_",
        f"{key}_",
        f"{key} x",
    ):
        assert _get(http, f"Bearer {wrong}") == 401, wrong


@pytest.mark.parametrize(
    "value",
    [
        None, "", " ", "Bearer", "Bearer ", "Basic YTpi", "Token {key}", "{key}", "Bearer{key}", "Basic {key}",
        "Bearer x", "Bearer cpk", "Bearer __", "Bearer cpk__", "Bearer cpk_{id}", "Bearer cpk_{id}_", "Bearer {secret}",
        "Bearer cpk_000000000000_{secret}", "Bearer cpk_zzzz_{secret}", "Bearer apk_{id}_{secret}", "Bearer , {key}",
        "Bearer cpk_{id}_{secret}_{secret}", "Bearer Bearer {key}", b"Bearer \xff", b"Bearer cpk_\xb5_\xff", b"\xff",
        "Bearer cpk_%00_x", "Bearer " + "x" * 10_000,
    ],
)  # fmt: skip
def test_whoever_has_no_valid_key_is_told_to_send_one_and_nothing_else(
    api: Api, http: httpx.Client, value: str | bytes | None
) -> None:
    _, key_id, secret = _key(api).split("_")
    if isinstance(value, str):
        value = value.replace("{key}", _key(api)).replace("{id}", key_id).replace("{secret}", secret).strip()
    answers = [_send(http, "GET", f"/v1/tenants/{tenant}", value) for tenant in ("platform", "nobody-here")]
    for answer in answers:
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert answers[0].content == answers[1].content


def test_every_operation_asks_for_the_key_before_anything_else(http: httpx.Client, operations: list[Operation]) -> None:
    for method, template, *_ in operations:
        if template.startswith("/v1/"):
            path = (
                template.replace("{tenant}", "\N{CRAB}")
                .replace("{service}", "A")
                .replace("{entry}", "x")
                .replace("{key}", "x")
            )
            for content in (b"{", b"{}", b"x" * (LIMIT + 1) if template == "/v1/tenants" else b""):
                problem(_send(http, method, f"{path}?limit=x", None, content=content), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json"])
def test_health_and_the_openapi_document_need_no_key(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 200


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_over_the_limit_is_refused(api: Api, method: str, path: str, chunked: bool) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(LIMIT // 2**16 + 1):
            yield b" " * 2**16

    answer = api.http.request(method, path, content=chunks() if chunked else b" " * (LIMIT + 1))
    problem(answer, 413, "body-too-large")


def test_a_body_of_just_the_limit_is_read(api: Api) -> None:
    body = raw({"tenant": "large"}).ljust(LIMIT)
    assert api.http.post("/v1/tenants", content=body).status_code == 201


MALFORMED = {
    "empty": b"",
    "blank": b" \n",
    "cut": b'{"tenant": "a"',
    "not UTF-8": b'{"tenant": "\xff"}',
    "single quotes": b"{'tenant': 'a'}",
    "comma": b'{"tenant": "a",}',
    "two": b"{}{}",
    "NUL": b"\0",
    "control character": b'"\x01"',
    "NaN": b'{"max_age": NaN}',
    "Infinity": b'{"max_age": Infinity}',
    "minus Infinity": b"-Infinity",
    "deep lists": b"[" * 200_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "endless number": b"1" * 100_000,
    "form": b"tenant=a&name=b",
    "HTML": b"<html>",
    "a name twice": b'{"tenant": "a", "tenant": "b"}',
    "a name twice, deeper": b'{"tenant": [{"a\\ud800": 1, "b": 2, "a\\ud800": 1}]}',
}


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("body", MALFORMED)
def test_a_body_that_is_not_json_is_refused(api: Api, method: str, path: str, body: str) -> None:
    problem(api.http.request(method, path, content=MALFORMED[body], headers={"If-Match": "*"}), 400, "malformed-json")


WRONG: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e999,
    10**4000,
    "",
    "x",
    "\0",
    "\ud800",
    [],
    [[]],
    [{}],
    {},
    {"": {}},
]
POLICY = "/v1/tenants/platform/policies/default"


@pytest.mark.parametrize(
    ("method", "path", "template", "right"),
    [
        ("POST", "/v1/tenants", {"tenant": 0}, ["x"]),
        ("PATCH", "/v1/tenants/platform", {"name": 0}, ["", "x"]),
        ("PUT", POLICY, {"allow_origins": 0}, [[]]),
        ("PUT", POLICY, {"allow_origins": [0]}, []),
        ("PUT", POLICY, {"allow_origins": [{"pattern": 0}]}, []),
        ("PUT", POLICY, {"allow_origins": [{"pattern": "https://a.com", "note": [0]}]}, []),
        ("PUT", POLICY, {"allow_methods": [0], "allow_headers": [0], "expose_headers": [0]}, ["x"]),
        ("PUT", POLICY, {"allow_credentials": 0, "max_age": 0}, []),
        ("POST", f"{POLICY}/origins", {"pattern": 0, "expires_at": 0}, []),
        ("POST", "/v1/decisions", {"tenant": "platform", "headers": {"Origin": [[0]]}}, []),
        ("POST", "/v1/decisions", {"tenant": "platform", "nothing": 0}, []),
    ],
)
def test_the_wrong_type_at_any_level_is_refused(
    api: Api, method: str, path: str, template: Any, right: list[Any]
) -> None:
    for value in WRONG:
        body = raw(_filled(template, value)).replace(b"Infinity", b"1e999")
        answer = api.http.request(method, path, content=body, headers={"If-Match": "*"})
        if value in right:
            assert answer.is_success, (body, answer.text)
        else:
            assert problem(answer, 422)["errors"], body


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/tenants", "/v1/tenants/platform/x", "/docs", "/redoc", "/%00", "/..%2f"]
)
def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        problem(api.http.request(method, path), 404, "not-found")


def test_a_method_that_a_path_does_not_have_is_not_allowed(api: Api, operations: list[Operation]) -> None:
    for path in {path for _, path, *_ in operations}:
        known = {method for method, other, *_ in operations if other == path}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - known:
            answer = api.http.request(method, path)
            problem(answer, 405, "method-not-allowed")
            assert {name.strip() for name in answer.headers["allow"].split(",")} - {"HEAD"} == known, path


def _filled(template: Any, value: Any) -> Any:
    if isinstance(template, dict):
        return {name: _filled(part, value) for name, part in template.items()}
    if isinstance(template, list):
        return [_filled(part, value) for part in template]
    return value if template == 0 else template


def _key(api: Api) -> str:
    return api.http.headers["authorization"].removeprefix("Bearer ")


def _send(
    http: httpx.Client, method: str, path: str, authorization: str | bytes | None, content: bytes | None = None
) -> httpx.Response:
    value = authorization.encode() if isinstance(authorization, str) else authorization
    headers = [] if value is None else [(b"Authorization", value)]
    return http.request(method, path, headers=headers, content=content)


def _get(http: httpx.Client, authorization: str) -> int:
    return _send(http, "GET", "/v1/tenants", authorization).status_code


@pytest.mark.parametrize(("mistyped", "meant"), [("dry-run", "dry_run"), ("dryrun", "dry_run"), ("Confirm", "confirm")])
def test_a_mistyped_parameter_is_refused_and_nothing_is_done(api: Api, mistyped: str, meant: str) -> None:
    tenant = api.new_tenant()
    answer = api.http.delete(f"/v1/tenants/{tenant}", headers={"If-Match": "*"}, params={mistyped: "true"})
    (error,) = problem(answer, 422, "invalid-request")["errors"]
    assert (error["code"], error["pointer"], error["suggestion"]) == ("unknown_parameter", f"/query/{mistyped}", meant)
    assert api.http.get(f"/v1/tenants/{tenant}").status_code == 200


def test_no_operation_ignores_a_parameter(api: Api, operations: list[Operation]) -> None:
    for operation in operations:
        if operation.path.startswith("/v1/"):
            path = operation.path.format(
                tenant=api.new_tenant(), service="default", entry="x", revision=1, key="0" * 12
            )
            answer = api.http.request(operation.method, path, params={"nonsense": "1"}, json=operation.example)
            assert [error["pointer"] for error in problem(answer, 422)["errors"]] == ["/query/nonsense"], operation
