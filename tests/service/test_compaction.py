"""Documents of old revisions go from the history, by age and by bytes; what each change did stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from policy_service.database import Sessions, create_engine, create_sessions
from policy_service.history.compaction import BATCH, Compaction
from policy_service.history.store import COMPACTION_LOCK, Kept
from tests import servers
from tests.cli.helpers import Cli
from tests.conftest import admin_api, service_environment
from tests.service.helpers import driver_url, execute, problem, rows
from tests.support import Api, Process, running, wait_until

YEAR = timedelta(days=365)
WITH_DOCUMENT = "SELECT tenant, revision FROM changes WHERE after IS NOT NULL AND tenant <> 'platform' ORDER BY 1, 2"
# The JSON of a document of 1000 bytes, as PostgreSQL writes it.
DOCUMENT = "jsonb_build_object('name', repeat('x', 1000 - 12))"


def _add(url: str, tenant: str, revision: int, days: int = 0, action: str = "x") -> None:
    after = "NULL" if action == "tenant.delete" else DOCUMENT
    execute(
        url,
        "INSERT INTO changes (revision, tenant, actor, action, after, created_at, published_at) VALUES"
        f" ({revision}, '{tenant}', 'x', '{action}', {after}, now() - interval '{days} days', now())",
    )


def _make_current(url: str, tenant: str, revision: int) -> None:
    execute(url, f"INSERT INTO tenants (slug, revision, document) VALUES ('{tenant}', {revision}, {DOCUMENT})")


def _compact(url: str, kept_bytes: int = 10**9, kept: timedelta = YEAR) -> None:
    _with_sessions(url, lambda sessions: Compaction(sessions, Kept(kept, kept_bytes)).pass_once())


def _with_sessions(url: str, use: Callable[[Sessions], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = create_engine(driver_url(url))
        try:
            await use(create_sessions(engine))
        finally:
            await engine.dispose()

    asyncio.run(run())


def test_documents_go_when_another_has_replaced_them_for_as_long_as_set(database_url: str) -> None:
    """Not when they are that old: one that was replaced yesterday can be restored, whenever it was made."""
    for revision, days in ((101, 1000), (102, 500), (103, 400), (104, 1)):
        _add(database_url, "acme", revision, days)
    _make_current(database_url, "acme", 104)
    _add(database_url, "old", 110, 1000)
    _make_current(database_url, "old", 110)
    # Replaced by nothing, a long time ago and lately.
    _add(database_url, "deleted", 120, 1000)
    _add(database_url, "deleted", 121, 366, "tenant.delete")
    _add(database_url, "left", 130, 1000)
    _add(database_url, "left", 131, 364, "tenant.delete")
    _compact(database_url)
    assert rows(database_url, WITH_DOCUMENT) == [("acme", 103), ("acme", 104), ("left", 130), ("old", 110)]
    compacted = "SELECT revision FROM changes WHERE compacted_at IS NOT NULL ORDER BY 1"
    assert rows(database_url, compacted) == [(101,), (102,), (120,)]


def test_the_newest_documents_stay_as_many_as_bytes_are_set_and_the_current_and_the_unpublished_always(
    database_url: str,
) -> None:
    last = 100 + 2 * BATCH
    execute(
        database_url,
        "INSERT INTO changes (revision, tenant, actor, action, after, published_at)"
        f" SELECT revision, 'acme', 'x', 'x', {DOCUMENT}, now() FROM generate_series(101, {last}) AS revision",
    )
    _make_current(database_url, "acme", last)
    _add(database_url, "small", 10)
    _make_current(database_url, "small", 10)
    execute(database_url, "UPDATE changes SET published_at = NULL WHERE revision = 200")
    [(size,)] = rows(database_url, "SELECT document_bytes FROM changes WHERE revision = 101")
    assert size == 1000
    _compact(database_url, kept_bytes=3500)
    newest = [("acme", last - 2), ("acme", last - 1), ("acme", last)]
    assert rows(database_url, WITH_DOCUMENT) == [("acme", 200), *newest, ("small", 10)]
    _compact(database_url, kept_bytes=10)
    assert rows(database_url, WITH_DOCUMENT) == [("acme", 200), ("acme", last), ("small", 10)]


def test_after_the_first_pass_only_tenants_that_were_changed_are_looked_at(database_url: str) -> None:
    async def run(sessions: Sessions) -> None:
        compaction = Compaction(sessions, Kept(YEAR, 1500))
        for position, (tenant, revision) in enumerate((("a", 101), ("a", 102), ("b", 103), ("b", 104)), start=1):
            await insert(sessions, tenant, revision, None if tenant == "b" else position)
        await compaction.pass_once()
        assert await left(sessions) == [102, 104]
        await insert(sessions, "a", 105, 10)
        await insert(sessions, "b", 106, None)
        await compaction.pass_once()
        assert await left(sessions) == [104, 105, 106]

    async def insert(sessions: Sessions, tenant: str, revision: int, position: int | None) -> None:
        async with sessions.begin() as session:
            statement = (
                "INSERT INTO changes (revision, tenant, actor, action, after, published_at, position)"
                f" VALUES ({revision}, '{tenant}', 'x', 'x', {DOCUMENT}, now(), :position)"
            )
            await session.execute(text(statement), {"position": position})

    async def left(sessions: Sessions) -> list[int]:
        async with sessions() as session:
            query = "SELECT revision FROM changes WHERE after IS NOT NULL AND tenant <> 'platform' ORDER BY 1"
            return list((await session.execute(text(query))).scalars())

    _with_sessions(database_url, run)


def test_one_process_at_a_time(database_url: str) -> None:
    _add(database_url, "acme", 101, 1000)
    _add(database_url, "acme", 102, 900)

    async def run(sessions: Sessions) -> None:
        compaction = Compaction(sessions, Kept(YEAR, 10**9))
        async with sessions.begin() as session:
            await session.execute(text(f"SELECT pg_advisory_xact_lock({COMPACTION_LOCK})"))
            await compaction.pass_once()
        assert (await _count(sessions)) == 0
        await compaction.pass_once()
        assert (await _count(sessions)) == 1

    _with_sessions(database_url, run)


async def _count(sessions: Sessions) -> int:
    async with sessions() as session:
        query = text("SELECT count(*) FROM changes WHERE compacted_at IS NOT NULL")
        return int((await session.execute(query)).scalar_one())


def test_it_ends_for_no_exception(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("policy_service.history.compaction.INTERVAL_SECONDS", 0.01)
    errors: list[Exception] = [KeyError("a"), RuntimeError("b")]

    async def run(sessions: Sessions) -> None:
        compaction = Compaction(sessions, Kept(YEAR, 10**9))
        passed = asyncio.Event()
        pass_once = compaction.pass_once

        async def fail_first() -> None:
            if errors:
                raise errors.pop(0)
            await pass_once()
            passed.set()

        monkeypatch.setattr(compaction, "pass_once", fail_first)
        task: asyncio.Task[None] = asyncio.create_task(compaction.run())
        async with asyncio.timeout(20):
            await passed.wait()
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})

    _with_sessions(database_url, run)
    warning = next(record for record in caplog.records if record.name == "policy_service.history.compaction")
    assert warning.getMessage() == "old documents are not removed from the history, trying again: KeyError"


KEPT_BYTES = 40_000


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str]) -> Iterator[Process]:
    """A service that keeps few bytes of each tenant's history."""
    bound = {"CORSPOLICY_HISTORY_BYTES_PER_TENANT": str(KEPT_BYTES)}
    with servers.redis() as redis_url:
        environment = {**service_environment(new_database(), redis_url), **bound}
        with running("policy_service.app:create_app", environment) as process:
            yield process


@pytest.fixture(scope="module")
def api(service: Process) -> Iterator[Api]:
    with admin_api(service) as api:
        yield api


def _policy(number: int) -> dict[str, Any]:
    return {"allow_origins": [{"pattern": f"https://a{n}.example.com", "note": f"{number}" * 400} for n in range(10)]}


@pytest.fixture(scope="module")
def written(api: Api, service: Process) -> str:
    """A tenant that was written as fast as one client can, until what it kept is far beyond its bytes."""
    tenant = api.new_tenant()
    for number in range(40):
        assert api.put_policy(tenant, _policy(number % 10)).status_code == 200
    kept = f"SELECT sum(document_bytes), count(*) FROM changes WHERE tenant = '{tenant}'"
    wait_until(
        lambda: rows(service.environment["CORSPOLICY_DATABASE_URL"], kept)[0][0] <= KEPT_BYTES, "old documents go"
    )
    assert rows(service.environment["CORSPOLICY_DATABASE_URL"], kept)[0][1] == 41
    return tenant


def test_the_history_says_which_revisions_can_be_restored_and_shows_what_each_did(api: Api, written: str) -> None:
    items = api.http.get(f"/v1/tenants/{written}/changes").json()["items"]
    restorable = [item["restorable"] for item in items]
    assert 2 < restorable.count(True) < 20
    assert restorable == sorted(restorable, reverse=True)
    assert len(items) == 41
    assert all(item["difference"] for item in items)
    oldest = restorable.index(False) - 1
    path = f"/v1/tenants/{written}/changes"
    newest, boundary, gone = (api.http.get(f"{path}/{items[index]['revision']}").json() for index in (0, oldest, -2))
    assert (newest["compacted"], newest["before"] is None, newest["after"] is None) == (False, False, False)
    # The document before it is gone: its difference is as it was stored.
    assert (boundary["compacted"], boundary["before"], boundary["restorable"]) == (True, None, True)
    assert boundary["after"]["policies"]
    assert boundary["difference"] == items[oldest]["difference"]
    assert (gone["compacted"], gone["before"], gone["after"], gone["restorable"]) == (True, None, None, False)
    assert gone["difference"] == items[-2]["difference"]


def test_restoring_what_is_gone_says_why_and_what_is_still_there(api: Api, written: str) -> None:
    path = f"/v1/tenants/{written}"
    items = api.http.get(f"{path}/changes").json()["items"]
    oldest = [item["revision"] for item in items if item["restorable"]][-1]
    before = api.http.get(path).json()
    anything = {"If-Match": "*"}
    answer = api.http.post(f"{path}/restore", json={"revision": items[-1]["revision"]}, headers=anything)
    detail = problem(answer, 410, "revision-compacted")["detail"]
    for named in ("CORSPOLICY_HISTORY_DAYS", "CORSPOLICY_HISTORY_BYTES_PER_TENANT", f"of revision {oldest}."):
        assert named in detail
    assert api.http.get(path).json() == before
    # So does asking what applied then.
    request = {"tenant": written, "service": "a", "headers": {"origin": "https://a.example.com"}}
    answer = api.http.post("/v1/decisions", json={**request, "revision": items[-1]["revision"]})
    assert problem(answer, 410, "revision-compacted")["detail"] == detail
    assert api.http.post("/v1/decisions", json={**request, "revision": oldest}).status_code == 200
    assert api.http.post(f"{path}/restore", json={"revision": oldest}, headers=anything).status_code == 200


def test_the_command_line_marks_what_cannot_be_restored_and_says_what_can(api: Api, written: str) -> None:
    cli = Cli(str(api.http.base_url), api.http.headers["Authorization"].removeprefix("Bearer "))
    newest, *_, first = cli.ok("history", written, "--limit", "100").split("\n\n")
    assert "(can't be restored)" not in newest
    assert first.splitlines()[0].endswith("  (can't be restored)")
    rejected = cli("restore", written, first.split()[0], "--yes")
    assert rejected.exit_code == 1
    assert "is no longer stored" in rejected.stderr


def test_a_receipt_of_a_change_whose_documents_are_gone_assumes_the_longest_cached_preflight(
    api: Api, written: str
) -> None:
    items = api.http.get(f"/v1/tenants/{written}/changes").json()["items"]

    def receipt(revision: int) -> Any:
        return api.http.get(f"/v1/revisions/{revision}/propagation").json()

    revision = items[-1]["revision"]
    shown = wait_until(lambda: (found := receipt(revision))["complete"] and found, "it is complete")
    assert shown["preflights_cached_until"] is not None
    assert receipt(items[0]["revision"])["preflights_cached_until"] is None
