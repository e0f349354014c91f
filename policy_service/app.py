"""Wires the service together; the only place that does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import Depends, FastAPI

from policy_service.auth.authentication import Authenticator
from policy_service.database import create_engine, create_redis, create_sessions
from policy_service.decisions import routes as decisions
from policy_service.fleet import routes as fleet_routes
from policy_service.fleet.poller import FleetPoller
from policy_service.health import routes as health
from policy_service.history import routes as changes
from policy_service.history.stream import Streams
from policy_service.http.dependencies import refuse_unknown_parameters
from policy_service.http.dry_run import install_dry_run_handler
from policy_service.http.idempotency.cleaning import clean_forever
from policy_service.http.openapi import DocumentedApp
from policy_service.http.problems import install_problem_handlers
from policy_service.keys import routes as key_routes
from policy_service.policies import routes as policies
from policy_service.propagation import routes as propagation
from policy_service.propagation.service import Propagations
from policy_service.publisher.expiry import expire_forever
from policy_service.publisher.leader import Publisher
from policy_service.settings import Settings
from policy_service.tenants import routes as tenants

STOP_TIMEOUT_SECONDS = 5.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service. It publishes, or stands by to, while it runs."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(settings.database_url, is_pooled=settings.is_pooled)
        keys = settings.keys
        redis = create_redis(settings.redis_url, keys)
        publisher = Publisher(settings.session_database_url, redis, keys, settings.stream_length)
        sessions = create_sessions(engine)
        fleet = FleetPoller(sessions, redis, keys)
        authenticator = Authenticator(sessions, settings)
        tasks = [
            asyncio.create_task(publisher.run(), name="publisher"),
            asyncio.create_task(authenticator.run(), name="use of keys"),
            asyncio.create_task(fleet.watch(), name="watch of the fleet"),
            asyncio.create_task(expire_forever(sessions, settings.expire_every_seconds), name="expiry"),
            asyncio.create_task(clean_forever(sessions), name="cleaning of kept answers"),
        ]
        app.state.settings = settings
        app.state.engine = engine
        app.state.sessions = sessions
        app.state.authenticator = authenticator
        app.state.streams = Streams(settings.max_streams)
        app.state.redis = redis
        app.state.publisher = publisher
        app.state.fleet = fleet
        app.state.propagations = Propagations(sessions, fleet)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                    await redis.aclose()
                    await engine.dispose()

    # Only pages that load nothing from elsewhere: /openapi.json, but none of the framework's documentation pages.
    app = DocumentedApp(
        title="corspolicy",
        summary="Centrally managed CORS policies",
        version=version("corspolicy-service"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    install_problem_handlers(app)
    install_dry_run_handler(app)
    for module in (tenants, policies, changes, decisions, fleet_routes, propagation, key_routes):
        app.include_router(module.router, dependencies=[Depends(refuse_unknown_parameters)])
    app.include_router(health.router)
    return app
