"""No route answers across tenants, and no role does what is not its own: for every operation of the OpenAPI document.

An operation that this test does not know how to fill in fails it, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from policy_service.app import create_app
from policy_service.settings import Settings
from tests import servers
from tests.service.helpers import client_with, execute, new_key, problem, rows
from tests.support import Api, Process, running


class Target(NamedTuple):
    """A tenant full of what only it has, and what to call its parts."""

    tenant: str
    service: str
    entry: str
    key: str
    revision: str
    """Not its last one."""
    mark: str
    """Is in every text of the tenant, but not in its slug."""

    def parts(self) -> set[str]:
        return {self.tenant, self.service, self.entry, self.key, self.revision, self.mark}


# What a valid request of an operation sends. The origins that the tenant has stay.
BODIES: dict[str, Callable[[Target], Any]] = {
    "create_tenant": lambda target: {"tenant": target.tenant},
    "update_tenant": lambda _: {"name": "renamed"},
    "put_tenant": lambda target: {
        "policies": {
            service: {"allow_origins": [f"https://{target.mark}.example.com", f"https://*.{target.mark}.example.com"]}
            for service in ("default", target.service)
        }
    },
    "put_policy": lambda target: {"allow_origins": [f"https://{target.mark}.example.com", "https://new.example.com"]},
    "add_origin": lambda _: {"pattern": "https://added.example.com"},
    "update_origin": lambda _: {"note": "changed"},
    "explain": lambda target: {
        "tenant": target.tenant,
        "service": target.service,
        "headers": {"Origin": f"https://{target.mark}.example.com"},
    },
    "create_key": lambda target: {"role": "tenant", "tenants": [target.tenant]},
    "rotate_key": lambda _: {},
    "restore_tenant": lambda target: {"revision": int(target.revision)},
}
# Parameters that are filled in where an operation has them; all in a path have to be known.
KNOWN: dict[str, Callable[[Target], str]] = {
    "tenant": lambda target: target.tenant,
    "service": lambda target: target.service,
    "entry": lambda target: target.entry,
    "key": lambda target: target.key,
    "revision": lambda target: target.revision,
    "if-match": lambda _: "*",
    "origin": lambda target: f"https://{target.mark}.example.com",
}
CHANGE_NOTHING = {"explain"}
TAKE_AN_ADMIN_KEY = {
    "create_tenant", "delete_tenant", "list_keys", "create_key", "get_key", "rotate_key", "revoke_key",
}  # fmt: skip
TELL_OF_ALL_TENANTS = {"get_fleet"}


class Request(NamedTuple):
    """A valid request of an operation to a tenant."""

    method: str
    path: str
    options: dict[str, Any]

    def send(self, http: httpx.Client) -> httpx.Response:
        return http.request(self.method, self.path, **self.options)

    def unconditional(self) -> Request:
        """The same without If-Match."""
        headers = {name: value for name, value in self.options["headers"].items() if name.lower() != "if-match"}
        return self._replace(options={**self.options, "headers": headers})


class Operation(NamedTuple):
    """An operation of the OpenAPI document."""

    id: str
    method: str
    path: str
    definition: dict[str, Any]

    @property
    def changes(self) -> bool:
        return self.method != "GET" and self.id not in CHANGE_NOTHING

    def of(self, target: Target) -> Request:
        path = self.path
        options: dict[str, Any] = {"params": {}, "headers": {}}
        for parameter in self.definition.get("parameters", []):
            name, place = parameter["name"], parameter["in"]
            if name.lower() not in KNOWN:
                assert not parameter.get("required"), f"{self.id}: say in KNOWN what {name} is for a tenant"
                continue
            value = KNOWN[name.lower()](target)
            if place == "path":
                path = path.replace("{" + name + "}", value)
            else:
                options["params" if place == "query" else "headers"][name] = value
        if "requestBody" in self.definition:
            assert self.id in BODIES, f"{self.id}: say in BODIES what a valid request for a tenant sends"
            options["json"] = BODIES[self.id](target)
        return Request(self.method, path, options)


def _operations() -> list[Operation]:
    settings = Settings(database_url="postgresql://unused", redis_url="redis://unused")
    paths = create_app(settings).openapi()["paths"]
    return [
        Operation(definition["operationId"], method.upper(), path, definition)
        for path, methods in paths.items()
        for method, definition in methods.items()
    ]


OPERATIONS = _operations()
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)


class Keys(NamedTuple):
    """Clients with a key each."""

    writer: httpx.Client
    """Of tenant A, as is the next."""
    looker: httpx.Client
    reader: httpx.Client
    expired: httpx.Client
    revoked: httpx.Client


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str]) -> Iterator[Process]:
    with servers.redis() as redis_url:
        database_url = new_database()
        # No revision is by chance a part of something else.
        execute(database_url, "ALTER SEQUENCE revisions RESTART WITH 7000000001")
        environment = {
            "CORSPOLICY_DATABASE_URL": database_url,
            "CORSPOLICY_REDIS_URL": redis_url,
            "CORSPOLICY_FAILED_AUTHENTICATIONS_PER_MINUTE": "100000",
            "CORSPOLICY_MAX_POLICIES_PER_TENANT": "1000",
        }
        with running("policy_service.app:create_app", environment) as process:
            yield process


@pytest.fixture(scope="module")
def own(api: Api) -> Target:
    """Tenant A."""
    return _filled(api, api.new_tenant())


@pytest.fixture(scope="module")
def keys(service: Process, api: Api, own: Target) -> Iterator[Keys]:
    writer = new_key(api, role="tenant", tenants=[own.tenant], may_write=True)
    looker = new_key(api, role="tenant", tenants=[own.tenant])
    reader, expired, revoked = (new_key(api, role=role) for role in ("reader", "admin", "admin"))
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    execute(database_url, f"UPDATE api_keys SET expires_at = now() WHERE id = '{expired['id']}'")
    assert api.http.delete(f"/v1/keys/{revoked['id']}").status_code == 204
    clients = Keys(*(client_with(api, key["key"]) for key in (writer, looker, reader, expired, revoked)))
    yield clients
    for client in clients:
        client.close()


@pytest.fixture(params=["another tenant", "platform"])
def other(request: pytest.FixtureRequest, api: Api) -> Target:
    """Tenant B, or the one that applies to all: neither is A's business."""
    return _filled(api, "platform" if request.param == "platform" else api.new_tenant())


def _filled(api: Api, tenant: str) -> Target:
    mark = f"m{secrets.token_hex(6)}"
    headers = {"If-Match": "*", "Corspolicy-Subject": mark}
    path = f"/v1/tenants/{tenant}"
    assert api.http.patch(path, json={"name": mark}, headers=headers).status_code == 200
    entry = {"pattern": f"https://{mark}.example.com", "note": mark}
    added = api.http.post(f"{path}/policies/default/origins", json=entry, headers=headers)
    assert added.status_code == 201, added.text
    wildcard = {"pattern": f"https://*.{mark}.example.com"}
    assert api.http.post(f"{path}/policies/default/origins", json=wildcard, headers=headers).status_code == 201
    policy = {"allow_origins": [entry, wildcard], "expose_headers": [f"x-{mark}"]}
    put = api.http.put(f"{path}/policies/{mark}", json=policy, headers=headers)
    assert put.status_code == 201, put.text
    key = new_key(api, role="tenant", tenants=[tenant], description=mark)
    return Target(tenant, mark, put.json()["allow_origins"][0]["id"], key["id"], str(added.json()["revision"]), mark)


def _nothing_like(target: Target) -> Target:
    """Names as those of `target`, of which there is nothing."""
    return Target(
        tenant=secrets.token_hex(len(target.tenant))[: len(target.tenant)],
        service=target.service,
        entry="00000000-0000-4000-8000-000000000000",
        key="0" * 12,
        revision="9" * len(target.revision),
        mark=target.mark,
    )


def _state(service: Process) -> dict[str, Any]:
    """Everything that is stored, but what is noted on the way."""
    database_url = service.environment["CORSPOLICY_DATABASE_URL"]
    noted = "- 'last_used_at' - 'published_at' - 'position'"
    tables = ("tenants", "changes", "api_keys", "hash_secret", "stored_responses")
    return {table: rows(database_url, f"SELECT to_jsonb(t) {noted} FROM {table} t ORDER BY 1") for table in tables}


def _in_words_of(answer: httpx.Response, target: Target, nothing: Target) -> tuple[int, str]:
    """An answer, told as if it were about `nothing`."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    text = f"{headers} {answer.text}"
    for part, instead in zip(target, nothing, strict=True):
        text = text.replace(part, instead)
    return answer.status_code, text


def _assert_tells_nothing(request: Request, answer: httpx.Response, target: Target) -> None:
    for part in target.parts():
        if part != "platform" and part not in f"{request}":
            assert part not in f"{answer.headers} {answer.text}"


@each_operation
def test_another_tenant_is_as_if_there_were_none(
    service: Process, api: Api, keys: Keys, other: Target, operation: Operation
) -> None:
    nothing = _nothing_like(other)
    request, same_for_nothing = operation.of(other), operation.of(nothing)
    before = _state(service)
    for http in (keys.writer, keys.looker):
        for sent, same in ((request, same_for_nothing), (request.unconditional(), same_for_nothing.unconditional())):
            answer = sent.send(http)
            _assert_tells_nothing(sent, answer, other)
            if sent != same:
                assert _in_words_of(answer, other, nothing) == _in_words_of(same.send(http), nothing, nothing)
            if "{tenant}" in operation.path:
                problem(answer, 404)
            if operation.changes:
                assert answer.status_code in (403, 404)
    assert _state(service) == before
    # It was a valid request: an admin key's is done, or in conflict with what is there.
    answer = request.send(api.http)
    assert answer.is_success or answer.status_code == 409, answer.text


@each_operation
def test_a_reader_changes_nothing(service: Process, keys: Keys, own: Target, operation: Operation) -> None:
    before = _state(service)
    answer = operation.of(own).send(keys.reader)
    if operation.changes or operation.id in TAKE_AN_ADMIN_KEY:
        problem(answer, 403, "forbidden")
    else:
        assert answer.status_code == 200, answer.text
    assert _state(service) == before


@each_operation
def test_a_key_that_may_only_read_a_tenant_changes_nothing_of_it(
    service: Process, keys: Keys, own: Target, operation: Operation
) -> None:
    before = _state(service)
    answer = operation.of(own).send(keys.looker)
    if operation.changes or operation.id in TAKE_AN_ADMIN_KEY | TELL_OF_ALL_TENANTS:
        problem(answer, 403, "forbidden")
    else:
        assert answer.status_code == 200, answer.text
    assert _state(service) == before


@each_operation
def test_a_key_that_may_write_a_tenant_does_all_that_is_the_tenants(
    api: Api, service: Process, operation: Operation
) -> None:
    target = _filled(api, api.new_tenant())
    key = new_key(api, role="tenant", tenants=[target.tenant, "platform"], may_write=True)
    before = _state(service)
    with client_with(api, key["key"]) as http:
        answer = operation.of(target).send(http)
    if operation.id in TAKE_AN_ADMIN_KEY | TELL_OF_ALL_TENANTS:
        problem(answer, 403, "forbidden")
    else:
        assert answer.is_success, answer.text
    is_changed = operation.changes and operation.id not in TAKE_AN_ADMIN_KEY
    assert (_state(service) != before) == is_changed


@each_operation
@pytest.mark.parametrize("which", ["expired", "revoked"])
def test_a_key_that_ended_opens_nothing(
    service: Process, keys: Keys, own: Target, operation: Operation, which: str
) -> None:
    before = _state(service)
    answer = operation.of(own).send(getattr(keys, which))
    if "security" in operation.definition:
        assert which in problem(answer, 401, "unauthorized")["detail"]
    else:
        assert operation.path in ("/livez", "/readyz")
    assert _state(service) == before


def test_pages_of_tenants_hold_those_of_the_key(api: Api) -> None:
    tenants = sorted(api.new_tenant() for _ in range(3))
    api.new_tenant()
    key = new_key(api, role="tenant", tenants=[*tenants, "platform"])
    with client_with(api, key["key"]) as http:
        seen, cursor = [], None
        while True:
            page = http.get("/v1/tenants", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
            seen += [item["tenant"] for item in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
    assert seen == sorted([*tenants, "platform"])


def test_a_decision_of_the_platform_is_told_but_not_by_which_pattern(api: Api, keys: Keys, own: Target) -> None:
    platform = _filled(api, "platform")
    question = {"tenant": own.tenant, "headers": {"Origin": f"https://sub.{platform.mark}.example.com"}}
    answers = [http.post("/v1/decisions", json=question) for http in (api.http, keys.reader, keys.writer)]
    for answer in answers:
        assert (answer.json()["allowed"], answer.json()["policy"]["tenant"]) == (True, "platform")
    patterns = [answer.json()["pattern"] for answer in answers]
    assert patterns == [f"https://*.{platform.mark}.example.com"] * 2 + [None]
    assert "*" not in answers[2].text


def test_a_key_of_a_tenant_that_is_made_anew_sees_it_again(api: Api) -> None:
    tenant = api.new_tenant()
    with client_with(api, new_key(api, role="tenant", tenants=[tenant])["key"]) as http:
        assert api.http.delete(f"/v1/tenants/{tenant}", headers={"If-Match": "*"}).status_code == 204
        problem(http.get(f"/v1/tenants/{tenant}"), 404, "unknown-tenant")
        assert http.get("/v1/tenants").json()["items"] == []
        assert api.http.post("/v1/tenants", json={"tenant": tenant}).status_code == 201
        assert http.get(f"/v1/tenants/{tenant}").status_code == 200


@pytest.mark.parametrize("subject", ["alice@example.com", "user 42", "x" * 200])
def test_a_subject_is_taken(api: Api, subject: str) -> None:
    assert api.http.get("/v1/tenants", headers={"Corspolicy-Subject": subject}).status_code == 200


@pytest.mark.parametrize("subject", ["", "x" * 201, "\u0141ukasz", "a\tb"])
def test_a_subject_that_cannot_be_is_refused(api: Api, subject: str) -> None:
    answer = api.http.get("/v1/tenants", headers=[(b"Corspolicy-Subject", subject.encode())])
    problem(answer, 400, "malformed-subject")
