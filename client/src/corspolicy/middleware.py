"""The ASGI middleware: finds the request's chain, decides, and writes the decision into the response.

Pure ASGI 3. Bodies are never touched; of the messages only `http.response.start` is edited.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from time import time
from typing import Any, Protocol, TypeVar, overload

from corspolicy.core.decision import TENANT_UNKNOWN, Chain, Reason, decide
from corspolicy.core.names import is_service
from corspolicy.core.request import Line
from corspolicy.policies import NEEDS_ASYNCIO, Policies
from corspolicy.sync.logs import logger
from corspolicy.tenancy import Scope, TenantResolver, resolver

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Tenant = str | TenantResolver | Callable[[Scope], str | None]


class PolicySource(Protocol):
    """What a middleware needs of `Policies`; `corspolicy.testing` has one without Redis."""

    denied: Counter[Reason]

    def chains(self, service: str) -> Mapping[AbstractEventLoop, Mapping[str, Chain]]:
        """The chains compiled so far, by event loop and tenant; always the same mapping, kept up to date."""

    async def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of any tenant."""

    async def start(self) -> None:
        """Called at the application's start-up."""

    async def stop(self) -> None:
        """Called at the application's shutdown."""


Source = TypeVar("Source", bound=PolicySource)


class CORSPolicyMiddleware:
    """Applies the policies of `service` to every request of `app`.

    Outermost it answers for everything; `install` puts it there. Through a framework's `add_middleware` it
    is inside the framework's own error pages, and their 500s carry no CORS headers: use `install`.
    """

    def __init__(self, app: ASGIApp, *, service: str, tenant: Tenant, policies: PolicySource | None = None) -> None:
        """`service` is this service's name in policies; `tenant` names a request's tenant; `policies` defaults to
        `Policies.shared()`, which reads CORSPOLICY_REDIS_URL.

        Raises ValueError without a Redis URL, TypeError for any other kind of `tenant`.
        """
        _require_service(service)
        self._app = app
        self._service = service
        found = resolver(tenant)
        # The bound method: Python calls it faster than the object.
        self._resolve = found.__call__
        self._extra_vary = ", ".join(found.vary).encode() or None
        self._policies: PolicySource = Policies.shared() if policies is None else policies
        self._chains = self._policies.chains(service)
        self._denied = self._policies.denied
        self._needs_asyncio = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self._lifespan if scope["type"] == "lifespan" else self._app)(scope, receive, send)
            return
        try:
            tenant = self._resolve(scope)
            chain = self._chains.get(get_running_loop(), _NO_CHAINS).get(tenant)
        except Exception:
            self._log_failure()
            tenant, chain = None, TENANT_UNKNOWN
        if chain is None:
            chain = await self._find_chain(tenant)
        decision = decide(chain, scope["method"], scope["headers"], time())
        if decision.is_denied:
            self._denied[decision.reason] += 1
            if decision.hidden:
                visible = [line for line in scope["headers"] if line[0] not in decision.hidden]
                # A new scope: the server's own is not the middleware's to change.
                scope = {**scope, "headers": visible}
        headers = decision.headers if self._extra_vary is None else self._with_extra_vary(decision.headers)
        if decision.status is not None:
            await send({"type": "http.response.start", "status": decision.status, "headers": [_NO_CONTENT, *headers]})
            await send({"type": "http.response.body", "body": b""})
            return

        def send_decided(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                lines = [*message.get("headers", ())]
                for name, _ in lines:
                    if name and name[0] in _INITIALS:
                        lines = _with_decision(lines, headers)
                        break
                else:
                    # Most responses have no header that starts like Access-Control-* or Vary, and are done here.
                    lines += headers
                # A new message: the app may use its own again, even in another request at the same time.
                message = dict(message)
                message["headers"] = lines
            return send(message)

        await self._app(scope, receive, send_decided)

    def _log_failure(self) -> None:
        """Log why a request has no chain: each time what its resolver raised, and once that there is no event loop."""
        try:
            get_running_loop()
        except RuntimeError:
            if not self._needs_asyncio:
                logger.critical("%s; nothing is granted", NEEDS_ASYNCIO)
            self._needs_asyncio = True
        else:
            logger.exception("the tenant of a request could not be resolved; nothing is granted")

    async def _find_chain(self, tenant: object) -> Chain:
        """The chain of a tenant that is not compiled yet; what is not the name of a tenant is allowed nothing."""
        if tenant is None or isinstance(tenant, str):
            return await self._policies.chain(self._service, tenant)
        logger.error("the tenant resolver returned %s, which is not a text; nothing is granted", repr(tenant))
        return TENANT_UNKNOWN

    def _with_extra_vary(self, headers: Iterable[Line]) -> list[Line]:
        """The decision's headers, with those that chose the tenant in Vary."""
        lines = list(headers)
        _merge_vary(lines, self._extra_vary or b"")
        return lines

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the lifespan through; follow the policies from the app's start-up to the end of its shutdown."""
        is_started = False

        async def receive_started() -> Message:
            nonlocal is_started
            message = await receive()
            if message["type"] == "lifespan.startup" and not is_started:
                is_started = True
                await start()
            return message

        async def start() -> None:
            try:
                await self._policies.start()
            except RuntimeError as error:
                # An exception alone may be taken for an application that has no lifespan.
                self._needs_asyncio = True
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise

        async def send_stopped(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await stop()
            await send(message)

        async def stop() -> None:
            nonlocal is_started
            if is_started:
                is_started = False
                await self._policies.stop()

        try:
            await self._app(scope, receive_started, send_stopped)
        finally:
            await stop()


@overload
def install(app: Any, *, service: str, tenant: Tenant, policies: None = None) -> Policies: ...
@overload
def install(app: Any, *, service: str, tenant: Tenant, policies: Source) -> Source: ...
def install(app: Any, *, service: str, tenant: Tenant, policies: PolicySource | None = None) -> PolicySource:
    """Put CORSPolicyMiddleware around `app` (FastAPI or Starlette), including its own error pages.

    Returns the policies, for `status()` and `wait_for()`. Raises RuntimeError when the application has already
    started, TypeError when it is of another framework, and whatever CORSPolicyMiddleware raises.
    """
    build = getattr(app, "build_middleware_stack", None)
    if build is None:
        raise TypeError(
            f"{type(app).__name__} is not a FastAPI or Starlette application: "
            "serve CORSPolicyMiddleware(app, service=..., tenant=...) instead of it"
        )
    if app.middleware_stack is not None:
        raise RuntimeError("install corspolicy before the application starts")
    _require_service(service)
    source: PolicySource = Policies.shared() if policies is None else policies
    resolve = resolver(tenant)
    # The frameworks build their stack at the first message, their own error handler outermost. Wrapping that
    # step is the one way to stand outside it without replacing the application object.
    app.build_middleware_stack = lambda: CORSPolicyMiddleware(build(), service=service, tenant=resolve, policies=source)
    return source


def _require_service(service: str) -> None:
    if not is_service(service):
        raise ValueError(
            f"{service!r} is not a valid service: use lower-case letters, digits, dots, hyphens and underscores"
        )


def _with_decision(lines: Iterable[Line], decided: Iterable[Line]) -> list[Line]:
    """The app's response headers with the decision's: one Access-Control-* line each, Vary merged."""
    kept = [line for line in lines if not line[0].lower().startswith(b"access-control-")]
    for line in decided:
        if line[0] == b"vary":
            _merge_vary(kept, line[1])
        else:
            kept.append(line)
    return kept


def _merge_vary(lines: list[Line], vary: bytes) -> None:
    """Add the members of `vary` to the Vary among `lines`. `Vary: *` already says more and is left alone."""
    present = [value for name, value in lines if name.lower() == b"vary"]
    members = [member for value in present for part in value.split(b",") if (member := part.strip())]
    if b"*" in members:
        return
    known = {member.lower() for member in members}
    members += [member for member in vary.split(b", ") if member.lower() not in known]
    lines[:] = [line for line in lines if line[0].lower() != b"vary"]
    lines.append((b"vary", b", ".join(members)))


_INITIALS = frozenset(b"aAvV")
_NO_CONTENT: Line = (b"content-length", b"0")
_NO_CHAINS: Mapping[Any, Chain] = {}
