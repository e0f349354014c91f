"""How a request names its tenant, early: from what a preflight already has.

A preflight carries no cookie, no Authorization and no custom header (Fetch, section 4.8), so that a tenant is
read from the host, the path or the query, or is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from inspect import iscoroutinefunction
from typing import Any, Protocol, cast
from urllib.parse import parse_qs

from corspolicy.core.names import is_slug
from corspolicy.core.origins import DIGITS, is_host, split_port

Scope = MutableMapping[str, Any]

_PLACEHOLDER = "{tenant}"
_MAX_QUERY_FIELDS = 100
_MAX_KNOWN_HOSTS = 1024
_MAX_KNOWN_HOST_BYTES = 300
_MAX_PORT_DIGITS = 5


class TenantResolver(Protocol):
    """Names the tenant of an ASGI request, or None where the request names none: then nothing is granted."""

    vary: tuple[str, ...]
    """Request headers other than Host that the answer depends on; they are listed in Vary."""

    def __call__(self, scope: Scope) -> str | None:
        """The tenant of the request that `scope` describes."""


class FixedTenant:
    """Every request belongs to one tenant."""

    vary: tuple[str, ...] = ()

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant

    def __call__(self, scope: Scope) -> str | None:
        return self._tenant


class TenantFromHost:
    """The tenant is a label of the host: `TenantFromHost("{tenant}.api.example.com")`.

    A Host that is not a host name with an optional port (RFC 9110, section 7.2), or that is sent twice, names no
    tenant. `custom` names the tenants of hosts outside the template: a mapping of host to tenant, or a callable. It
    gets hosts in lower case, without port and trailing dot. Raises ValueError for a template in which `{tenant}` is
    not the leftmost label of a host name, and for a mapping with a key that is not a host name.
    """

    vary: tuple[str, ...] = ()

    def __init__(self, template: str, custom: Mapping[str, str] | Callable[[str], str | None] | None = None) -> None:
        if not template.startswith(_PLACEHOLDER + ".") or _PLACEHOLDER in template[len(_PLACEHOLDER) :]:
            raise ValueError(f'write the host as "{_PLACEHOLDER}.api.example.com", not {template!r}')
        self._suffix = template[len(_PLACEHOLDER) :].lower().rstrip(".")
        if not is_host(self._suffix[1:].encode()):
            raise ValueError(f"{template!r} has no valid host name behind {_PLACEHOLDER}: leave out the port")
        self._known: dict[bytes, str] = {}
        self._custom: Callable[[str], str | None] | None = _by_host(custom) if isinstance(custom, Mapping) else custom

    def __call__(self, scope: Scope) -> str | None:
        sent: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"host":
                if sent is not None:
                    # Servers and proxies differ in which one they take (RFC 9112, section 3.2).
                    return None
                sent = value
        return None if sent is None else self._known.get(sent) or self._find(sent)

    def _find(self, value: bytes) -> str | None:
        name, port = split_port(value.lower())
        if port is not None and (port.translate(None, DIGITS) or len(port) > _MAX_PORT_DIGITS):
            return None
        name = name.removesuffix(b".")
        if not is_host(name):
            return None
        host = name.decode()
        if host.endswith(self._suffix):
            tenant = host[: -len(self._suffix)]
            if tenant and "." not in tenant:
                if len(self._known) >= _MAX_KNOWN_HOSTS:
                    self._known.clear()
                if len(value) <= _MAX_KNOWN_HOST_BYTES:
                    self._known[value] = tenant
                return tenant
        # What the callable says may change, so that it is asked each time.
        return self._custom(host) if self._custom is not None else None


class TenantFromPath:
    """The tenant is a segment of the path: `TenantFromPath("/t/{tenant}")`, whatever follows.

    Raises ValueError for a template that does not end in `/{tenant}`.
    """

    vary: tuple[str, ...] = ()

    def __init__(self, template: str) -> None:
        prefix, placeholder, rest = template.partition(_PLACEHOLDER)
        if not placeholder or rest.strip("/") or not prefix.startswith("/") or not prefix.endswith("/"):
            raise ValueError(f'write the path as "/t/{_PLACEHOLDER}", not {template!r}')
        self._prefix = prefix

    def __call__(self, scope: Scope) -> str | None:
        path: str = scope["path"]
        # Where a proxy took a prefix off, `path` has it all the same (ASGI, HTTP connection scope).
        root: str = scope.get("root_path", "")
        if root and path.startswith(root + "/"):
            path = path[len(root) :]
        if not path.startswith(self._prefix):
            return None
        return path[len(self._prefix) :].partition("/")[0] or None


class TenantFromQuery:
    """The tenant is a query parameter, given once: `TenantFromQuery("tenant")`."""

    vary: tuple[str, ...] = ()

    def __init__(self, parameter: str) -> None:
        self._parameter = parameter

    def __call__(self, scope: Scope) -> str | None:
        try:
            query = parse_qs(
                scope.get("query_string", b"").decode("latin-1"),
                keep_blank_values=True,
                max_num_fields=_MAX_QUERY_FIELDS,
            )
        except ValueError:
            return None
        values = query.get(self._parameter, [])
        return (values[0] or None) if len(values) == 1 else None


class TenantFromScope:
    """The tenant is what a callable of the ASGI scope returns, quickly and without I/O.

    Name in `vary` the request headers that it reads. An exception in it is logged and grants nothing.
    """

    def __init__(self, resolve: Callable[[Scope], str | None], vary: tuple[str, ...] = ()) -> None:
        _require_plain(resolve)
        if isinstance(vary, str):
            raise TypeError(f"vary must be a tuple of header names, such as ({vary!r},)")
        self._resolve = resolve
        self.vary = vary

    def __call__(self, scope: Scope) -> str | None:
        return self._resolve(scope)


def _by_host(tenants: Mapping[str, str]) -> Callable[[str], str | None]:
    by_host = {host.lower().removesuffix("."): tenant for host, tenant in tenants.items()}
    for host in by_host:
        if not is_host(host.encode()):
            raise ValueError(f"{host!r} is not a host name: leave out the port")
    return by_host.get


def _require_plain(resolve: Any) -> None:
    if iscoroutinefunction(resolve) or iscoroutinefunction(type(resolve).__call__):
        raise TypeError("tenant must be a plain function, not async: it is called on every request")


def resolver(tenant: str | TenantResolver | Callable[[Scope], str | None]) -> TenantResolver:
    """The resolver that a user means: a name is a fixed tenant, a plain function a callable of the scope."""
    if isinstance(tenant, str):
        if not is_slug(tenant):
            raise ValueError(f"{tenant!r} is not a valid tenant: use lower-case letters, digits and hyphens")
        return FixedTenant(tenant)
    if not callable(tenant):
        raise TypeError(f"tenant must be a name, a TenantFrom… object or a callable of the ASGI scope, not {tenant!r}")
    _require_plain(tenant)
    if hasattr(tenant, "vary"):
        return cast(TenantResolver, tenant)
    return TenantFromScope(tenant)
