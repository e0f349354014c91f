"""How requests name their tenant."""

from __future__ import annotations

from typing import Any

import pytest

from corspolicy import (
    CORSPolicyMiddleware,
    FixedTenant,
    TenantFromHost,
    TenantFromPath,
    TenantFromQuery,
    TenantFromScope,
)
from corspolicy.tenancy import resolver
from corspolicy.testing import FixedPolicies
from tests.client.uvicorns import exchange, serving


def _scope(host: str = "localhost", path: str = "/", query: bytes = b"") -> dict[str, Any]:
    headers = [(b"accept", b"*/*"), (b"host", host.encode())]
    return {"type": "http", "path": path, "query_string": query, "headers": headers}


@pytest.mark.parametrize(
    ("host", "tenant"),
    [
        ("acme.api.example.com", "acme"),
        ("acme.api.example.com:8443", "acme"),
        ("ACME.API.Example.com", "acme"),
        ("acme.api.example.com.", "acme"),
        ("api.example.com", None),
        (".api.example.com", None),
        ("evil.acme.api.example.com", None),
        ("acme.api.example.com.evil.net", None),
        ("acmeapi.example.com", None),
        ("cors.acme.io", "acme"),
        ("other.acme.io", None),
        ("", None),
        ("[::1]:80", None),
        ("acme.api.example.com, acme.api.example.com", None),
        ("acme.api.example.com:", "acme"),
        ("acme.api.example.com:0x50", None),
        ("acme.api.example.com:080000", None),
        ("evil.api.example.com:80@acme.api.example.com", None),
        ("evil@acme.api.example.com", None),
        ("evil:80@cors.acme.io", None),
        ("acme.api.example.com/x", None),
        ("acme.api.example.com:80:80", None),
        ("ac me.api.example.com", None),
        ("ac%6de.api.example.com", None),
        ("acmé.api.example.com", None),
        ("acme.api.example.com..", None),
        ("cors.acme.io:443", "acme"),
    ],
)
@pytest.mark.parametrize("as_callable", [False, True])
def test_tenant_from_host(host: str, tenant: str | None, as_callable: bool) -> None:
    domains = {"cors.acme.io": "acme"}
    resolve = TenantFromHost("{tenant}.api.example.com", domains.get if as_callable else domains)
    assert resolve(_scope(host)) == tenant


@pytest.mark.parametrize("second", ["acme.api.example.com", "other.api.example.com", ""])
@pytest.mark.parametrize("is_known", [False, True])
def test_two_host_lines_name_no_tenant(second: str, is_known: bool) -> None:
    resolve = TenantFromHost("{tenant}.api.example.com", lambda host: "acme")
    scope = _scope("acme.api.example.com")
    if is_known:
        assert resolve(scope) == "acme"
    assert resolve(scope | {"headers": [*scope["headers"], (b"host", second.encode())]}) is None


def test_a_callable_is_given_host_names_alone() -> None:
    given: list[str] = []
    resolve = TenantFromHost("{tenant}.api.example.com", lambda host: given.append(host))
    for host in ("CORS.acme.io.:8443", "[::1]:80", "a@b.io", "", "a b", "10.0.0.1", "10.0.0.300"):
        assert resolve(_scope(host)) is None
    assert given == ["cors.acme.io", "[::1]", "10.0.0.1"]


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize(
    "hosts",
    [[b"evil.api.example.com:80@acme.api.example.com"], [b"acme.api.example.com", b"evil.api.example.com"]],
)
def test_a_host_that_is_none_is_granted_nothing_on_the_wire(http: str, hosts: list[bytes]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    policies = FixedPolicies({"acme": {"default": {"allow_origins": ["https://app.example.com"]}}})
    host = TenantFromHost("{tenant}.api.example.com")
    middleware = CORSPolicyMiddleware(app, service="x", tenant=host, policies=policies)
    origin = (b"origin", b"https://app.example.com")
    with serving(middleware, http=http) as port:
        status, lines = exchange(port, "GET", "/", [(b"host", b"acme.api.example.com"), origin])
        assert (status, dict(lines).get("access-control-allow-origin")) == (200, "https://app.example.com")
        status, lines = exchange(port, "GET", "/", [*((b"host", value) for value in hosts), origin])
        assert status in (200, 400), "some servers reject such a request themselves"
        assert "access-control-allow-origin" not in dict(lines)


def test_a_request_without_host_names_no_tenant() -> None:
    assert TenantFromHost("{tenant}.example.com", lambda host: "acme")({"headers": []}) is None


@pytest.mark.parametrize(
    ("path", "tenant"),
    [
        ("/t/acme", "acme"),
        ("/t/acme/orders", "acme"),
        ("/t/", None),
        ("/t", None),
        ("/x/acme", None),
        ("/t//acme", None),
    ],
)
def test_tenant_from_path(path: str, tenant: str | None) -> None:
    assert TenantFromPath("/t/{tenant}")(_scope(path=path)) == tenant


@pytest.mark.parametrize(
    ("query", "tenant"),
    [
        (b"tenant=acme", "acme"),
        (b"x=1&tenant=acme", "acme"),
        (b"tenant=acme&tenant=other", None),
        (b"tenant=", None),
        (b"tenant=acme&tenant=", None),
        (b"", None),
        (b"tenants=acme", None),
        (b"&".join([b"x=1"] * 200) + b"&tenant=acme", None),
    ],
)
def test_tenant_from_query(query: bytes, tenant: str | None) -> None:
    assert TenantFromQuery("tenant")(_scope(query=query)) == tenant


@pytest.mark.parametrize(
    "template", ["api.example.com", "{tenant}example.com", "x.{tenant}.com", "{tenant}.{tenant}.com"]
)
def test_a_host_template_without_its_own_label_is_rejected(template: str) -> None:
    with pytest.raises(ValueError, match=r"write the host as"):
        TenantFromHost(template)


@pytest.mark.parametrize("template", ["/t", "t/{tenant}", "/t{tenant}", "/{tenant}/orders"])
def test_a_path_template_that_does_not_end_in_the_tenant_is_rejected(template: str) -> None:
    with pytest.raises(ValueError, match=r"write the path as"):
        TenantFromPath(template)


def test_what_install_takes_as_tenant() -> None:
    assert isinstance(resolver("acme"), FixedTenant)
    host = TenantFromHost("{tenant}.example.com")
    assert resolver(host) is host
    scoped = resolver(lambda scope: str(scope["path"]))
    assert isinstance(scoped, TenantFromScope)
    assert scoped(_scope(path="/x")) == "/x"
    with pytest.raises(TypeError, match="tenant must be a name"):
        resolver(42)  # type: ignore[arg-type]


def test_a_prefix_that_a_proxy_took_off_is_no_part_of_the_path() -> None:
    scope = _scope(path="/api/t/acme/x") | {"root_path": "/api"}
    assert TenantFromPath("/t/{tenant}")(scope) == "acme"
    assert TenantFromPath("/t/{tenant}")(_scope(path="/apit/acme") | {"root_path": "/api"}) is None


def test_a_mapping_of_hosts_is_read_as_hosts_are_sent() -> None:
    resolve = TenantFromHost("{tenant}.example.com", {"API.Acme.io.": "acme"})
    assert resolve(_scope("api.acme.io:8443")) == "acme"
    with pytest.raises(ValueError, match="port"):
        TenantFromHost("{tenant}.example.com", {"api.acme.io:8443": "acme"})
    with pytest.raises(ValueError, match="port"):
        TenantFromHost("{tenant}.example.com:8443")


def test_what_could_never_name_a_tenant_is_rejected_at_once() -> None:
    async def resolve(scope: object) -> str:
        return "acme"

    class Resolver:
        vary = ()

        async def __call__(self, scope: object) -> str:
            return "acme"

    for tenant in (resolve, Resolver()):
        with pytest.raises(TypeError, match="not async"):
            resolver(tenant)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tuple of header names"):
        TenantFromScope(lambda scope: "acme", vary="X-Tenant")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a valid tenant"):
        resolver("")
