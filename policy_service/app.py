"""Wires the service together; the only place that does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from importlib.metadata import version

from fastapi import Depends, FastAPI
from redis.asyncio import Redis

from policy_service.auth.authentication import Authenticator
from policy_service.auth.checks import Checks
from policy_service.auth.key_watch import KeyWatch
from policy_service.auth.rate_limits import RateLimit
from policy_service.auth.shares import Shares
from policy_service.database import Sessions, create_engine, create_redis, create_sessions
from policy_service.decisions import routes as decisions
from policy_service.fleet import routes as fleet
from policy_service.fleet.poller import FleetPoller
from policy_service.health import routes as health
from policy_service.history import routes as history
from policy_service.history.compaction import Compaction
from policy_service.history.store import Kept
from policy_service.history.stream import Streams
from policy_service.http.container import Container
from policy_service.http.dependencies import reject_unknown_parameters
from policy_service.http.idempotency.cleaning import clean_forever
from policy_service.http.logs import install_safe_records
from policy_service.http.openapi import DocumentedApp
from policy_service.http.problems import install_problem_handlers
from policy_service.keys import routes as keys
from policy_service.origins import routes as origins
from policy_service.policies import routes as policies
from policy_service.propagation import routes as propagation
from policy_service.propagation.service import Propagations
from policy_service.publisher.expiry import expire_forever
from policy_service.publisher.leader import Publisher
from policy_service.publisher.signing import load_signer
from policy_service.settings import Settings
from policy_service.tenants import routes as tenants

STOP_TIMEOUT_SECONDS = 5.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service. While it runs it publishes, or stands by to take over."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(settings) as app.state.container:
            yield

    # The framework's documentation pages would load scripts from elsewhere.
    app = DocumentedApp(
        title="corspolicy",
        summary="Centrally managed CORS policies",
        version=version("corspolicy-service"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    install_problem_handlers(app)
    for module in (tenants, policies, origins, history, decisions, fleet, propagation, keys):
        app.include_router(module.router, dependencies=[Depends(reject_unknown_parameters)])
    app.include_router(health.router)
    return app


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Container]:
    """What the process has, with its tasks running; all of it is stopped and closed at the end."""
    install_safe_records()
    engine = create_engine(settings.database_url, is_pooled=settings.is_pooled)
    sessions = create_sessions(engine)
    redis = create_redis(settings.redis_url, settings.keys)
    signer = load_signer(settings)
    publisher = Publisher(settings.session_database_url, redis, settings.keys, settings.stream_length, signer)
    poller = FleetPoller(sessions, redis, settings.keys)
    requests = RateLimit(settings.rate_limit_per_second, settings.rate_limit_burst)
    shares = Shares(settings)
    authenticator = Authenticator(sessions, settings, requests, shares.lookups)
    checks = Checks(requests, settings.queue_timeout_seconds)
    key_watch = KeyWatch(sessions)
    compaction = Compaction(sessions, Kept(timedelta(days=settings.history_days), settings.history_bytes_per_tenant))
    tasks = [
        asyncio.create_task(publisher.run(), name="publisher"),
        asyncio.create_task(authenticator.run(), name="use of keys"),
        asyncio.create_task(key_watch.run(), name="watch of keys"),
        asyncio.create_task(poller.watch(), name="watch of the fleet"),
        asyncio.create_task(expire_forever(sessions, settings.expire_every_seconds), name="expiry"),
        asyncio.create_task(clean_forever(sessions), name="cleaning of stored responses"),
        asyncio.create_task(compaction.run(), name="compaction of the history"),
    ]
    container = Container()
    container.add(Settings, settings)
    container.add(Sessions, sessions)
    container.add(Shares, shares)
    container.add(Redis, redis)
    container.add(Authenticator, authenticator)
    container.add(Checks, checks)
    container.add(KeyWatch, key_watch)
    container.add(Publisher, publisher)
    container.add(Streams, Streams(shares.streams, key_watch))
    container.add(FleetPoller, poller)
    container.add(Propagations, Propagations(shares.waits, poller))
    try:
        yield container
    finally:
        for task in tasks:
            task.cancel()
        checks.close()
        await asyncio.wait(tasks, timeout=STOP_TIMEOUT_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await redis.aclose()
                await engine.dispose()
