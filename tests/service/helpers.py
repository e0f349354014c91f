"""What the tests of the admin API share: what an error looks like, SQL, requests at the same moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from policy_service.settings import Settings
from tests.support import Api, Process

T = TypeVar("T")

# For a change that takes origins away.
CONFIRM = {"confirm": "true"}

FULL: dict[str, Any] = {
    "allow_origins": [
        "https://a.example.com",
        {"pattern": "https://*.b.example.com", "note": "staging ❤", "expires_at": "2099-01-31T12:00:00.123456Z"},
    ],
    "allow_credentials": True,
    "allow_methods": ["PUT", "DELETE"],
    "allow_headers": ["x-token", "content-type"],
    "expose_headers": ["x-total"],
    "max_age": 600,
    "dangerously_allow_insecure_origins": True,
    "dangerously_allow_public_suffixes": True,
}


class Operation(NamedTuple):
    """Something that the OpenAPI document has: a method, the template of a path, the example of a body, its id."""

    method: str
    path: str
    example: Any
    id: str


def path_of(api: Api, service: str = "default") -> str:
    """The path of a policy of a new tenant."""
    return f"/v1/tenants/{api.new_tenant()}/policies/{service}"


@contextmanager
def tenant_api(api: Api, service: Process, *tenants: str) -> Iterator[Api]:
    """The API with a key that may read and change these tenants, and knows of no others."""
    answer = api.http.post("/v1/keys", json={"role": "tenant", "tenants": tenants, "may_write": True})
    assert answer.status_code == 201, answer.text
    own = Api(service.url, answer.json()["key"])
    with own.http:
        yield own


def write_policies(api: Api, tenant: str, policies: dict[str, dict[str, Any]]) -> None:
    """Give a tenant exactly these policies."""
    for service, values in policies.items():
        written = api.put_policy(tenant, values, service)
        assert written.is_success, written.text
    if "default" not in policies:
        delete_policy(api, tenant, "default")


def delete_policy(api: Api, tenant: str, service: str) -> None:
    """Delete a policy, whatever it is at."""
    answer = api.http.delete(f"/v1/tenants/{tenant}/policies/{service}", headers={"If-Match": "*"}, params=CONFIRM)
    assert answer.status_code == 204, answer.text


def raw(value: object) -> bytes:
    """JSON in ASCII: a lone surrogate can be sent no other way."""
    return json.dumps(value).encode()


def problem(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Assert that an answer is a complete problem (RFC 9457); returns it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "errors"}
    assert body["status"] == status
    assert body["type"].startswith("urn:corspolicy:problem:")
    assert body["title"]
    assert body["detail"]
    for item in body["errors"]:
        assert {"code", "pointer", "detail"} <= set(item) <= {"code", "pointer", "detail", "suggestion"}
    if code is not None:
        assert body["type"] == f"urn:corspolicy:problem:{code}"
    return body


def errors(answer: httpx.Response, status: int = 422) -> list[tuple[str, str]]:
    """The (code, pointer) pairs of a refusal."""
    return [(item["code"], item["pointer"]) for item in problem(answer, status)["errors"]]


def at(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points to. Raises LookupError where that is nothing."""
    assert not pointer or pointer.startswith("/"), pointer
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and part.isdigit():
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value[part]
        else:
            raise LookupError(pointer)
    return value


def etag(answer: httpx.Response) -> str:
    """The ETag of an answer that is none but good."""
    assert answer.is_success, answer.text
    tag: str = answer.headers["etag"]
    return tag


def together(number: int, call: Callable[[int], T]) -> list[T]:
    """The results of calls made at the same moment, each in a thread of its own."""
    barrier = Barrier(number)

    def start(index: int) -> T:
        barrier.wait(10)
        return call(index)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(start, range(number)))


def new_key(api: Api, **values: Any) -> dict[str, Any]:
    """A key just made, as the API shows it."""
    answer = api.http.post("/v1/keys", json=values)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def client_with(api: Api, key: str) -> httpx.Client:
    """A client of the same service with another key."""
    return httpx.Client(base_url=api.http.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=10)


def forged(key: str, **parts: str) -> str:
    """That key with another `id` or `secret`, and the checksum that belongs to them."""
    _, key_id, rest = key.split("_")
    body = f"cpk_{parts.get('id', key_id)}_{parts.get('secret', rest[:64])}"
    return f"{body}{crc32(body.encode()):08x}"


def driver_url(database_url: str) -> str:
    """A database's URL as SQLAlchemy takes it."""
    return Settings(database_url=database_url, redis_url="redis://unused").database_url


def rows(database_url: str, statement: str) -> Sequence[tuple[Any, ...]]:
    """What a query gives."""

    async def read(connection: AsyncConnection) -> Sequence[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.execute(text(statement))]

    return _connected(database_url, read)


def execute(database_url: str, statement: str) -> None:
    """Change something behind the service's back."""

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(text(statement))

    _connected(database_url, write)


def _connected(database_url: str, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    async def run() -> T:
        engine = create_async_engine(driver_url(database_url), poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                return await work(connection)
        finally:
            await engine.dispose()

    return asyncio.run(run())
