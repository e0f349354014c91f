"""What one event loop holds, and the tasks that keep it: the feed, the last-known-good file, the watch on its age."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from corspolicy.core.decision import Chain, Reason
from corspolicy.status import MAX_REPORTED_REJECTIONS, Report, Status
from corspolicy.sync import last_known_good
from corspolicy.sync.cache import Cache, Documents, Held
from corspolicy.sync.feed import Feed
from corspolicy.sync.fetcher import Fetcher

STOP_TIMEOUT_SECONDS = 2.0
SAVE_INTERVAL_SECONDS = 5.0
CONFIRM_INTERVAL_SECONDS = 30.0
WATCH_SECONDS = 0.25

logger = logging.getLogger("corspolicy")


class Options(NamedTuple):
    """What `Policies` was made with."""

    redis_url: str
    capacity: int
    startup_timeout: float
    max_stale: float | None
    snapshot_path: Path | None


class Replica:
    """The documents that one event loop holds. Made and used in that loop."""

    def __init__(self, options: Options, services: Iterable[str], denied: Mapping[Reason, int]) -> None:
        """`services` and `denied` are those of the process, which go into its reports as they are then."""
        self._options = options
        self._services = services
        self._denied = denied
        self._started_at = time.time()
        # Once: it is looked up in the installed files.
        self._version = version("corspolicy")
        self._id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._cache = Cache(options.capacity)
        self._feed = Feed(options.redis_url, self._cache, self._report)
        self._fetcher = Fetcher(self._feed.client, self._cache)
        self._deadline = time.monotonic() + options.startup_timeout
        self.users = 0
        self._tasks = [self._start(self._feed.run), self._start(self._fall_back), self._start(self._fetcher.run)]
        self._fallen_back = self._tasks[1]
        if options.snapshot_path is not None:
            self._tasks.append(self._start(self._keep_saving))
        if options.max_stale is not None:
            self._tasks.append(self._start(self._watch_age))

    def _start(self, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await run()
            except Exception:
                logger.exception("a task of the policies failed: %s", run.__qualname__)

        return asyncio.get_running_loop().create_task(guarded(), name=f"corspolicy {run.__name__}")

    def chains(self, service: str) -> dict[str, Chain]:
        """The chains of `service` compiled so far, by tenant; always the same mapping."""
        return self._cache.chains(service)

    async def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of any tenant. Waits for the first policies, but not beyond `startup_timeout`."""
        if not self._cache.ready:
            await self.wait_until_ready()
        if self._cache.ready and tenant is not None and self._cache.is_missing(tenant):
            await self._fetcher.fetch(tenant)
        return self._cache.chain(service, tenant)

    async def wait_until_ready(self) -> None:
        """Return when policies are held, or could not be had: `startup_timeout` after the start, at the latest."""
        # Shielded: one request that is given up must not end this for all.
        await asyncio.wait([self._fallen_back])

    async def _fall_back(self) -> None:
        """Once Redis turns out to be out of reach at the start, hold what the file has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                while not self._cache.ready and not (self._feed.has_failed and self._options.snapshot_path):
                    await self._feed.changed.wait()
        if not self._cache.ready and self._options.snapshot_path is not None:
            await self._restore(self._options.snapshot_path)
        if not self._cache.ready:
            logger.warning("no policies yet: nothing is granted until Redis can be read")

    async def _restore(self, path: Path) -> None:
        try:
            found = await asyncio.to_thread(last_known_good.read, path)
        except (OSError, last_known_good.UnusableFile) as error:
            logger.warning("the last-known-good file %s is of no use: %s", path, error)
            return
        if not self._cache.ready:
            fresh = Documents((tenant, Held(tenant, envelope)) for tenant, envelope in found.envelopes.items())
            self._cache.replace(fresh, None, is_complete=True)
            self._feed.restored(found.age)
            logger.warning("Redis is out of reach: going on with %d tenants of %s", len(self._cache), path)

    async def _keep_saving(self) -> None:
        """Write the file after changes, at most every few seconds, and confirm it while there are none."""
        path = self._options.snapshot_path
        assert path is not None
        saved: object = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_INTERVAL_SECONDS):
                    await self._feed.changed.wait()
            age = self._feed.age
            if self._feed.connected and age is not None and age < CONFIRM_INTERVAL_SECONDS:
                saved = await self._save(path, saved)
            await asyncio.sleep(SAVE_INTERVAL_SECONDS)

    async def _save(self, path: Path, saved: object) -> object:
        version = self._cache.version
        try:
            if version is saved:
                with suppress(FileNotFoundError):
                    await asyncio.to_thread(last_known_good.confirm, path)
                    return saved
            await asyncio.to_thread(last_known_good.write, path, self._cache.envelopes())
        except OSError as error:
            logger.warning("the last-known-good file %s can't be written: %s", path, error)
            return saved
        return version

    async def _watch_age(self) -> None:
        """Grant nothing while what is held is older than `max_stale`."""
        limit = self._options.max_stale
        assert limit is not None
        while True:
            age = self._feed.age
            is_stale = self._cache.ready and (age is None or age > limit)
            if is_stale != self._cache.is_stale:
                self._cache.is_stale = is_stale
                logger.warning("the policies are %s", "too old: nothing is granted" if is_stale else "current again")
            await asyncio.sleep(WATCH_SECONDS if age is None else min(max(limit - age, 0.01), WATCH_SECONDS))

    async def wait_for(self, revision: int) -> None:
        """Return when `revision` is applied."""
        while self._cache.revision < revision:
            await self._feed.changed.wait()

    async def stop(self) -> None:
        """End all tasks, within two seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_SECONDS)

    def _report(self) -> Report:
        status = self.status()
        return Report(
            id=self._id,
            host=socket.gethostname(),
            process=os.getpid(),
            version=self._version,
            services=sorted(self._services),
            started_at=self._started_at,
            ready=status.ready,
            age=status.age,
            revision=status.revision,
            cursor=status.cursor,
            epoch=self._feed.epoch,
            digest=f"{self._cache.digest:016x}",
            tenants=status.tenants,
            complete=status.complete,
            rejections=dict(islice(status.rejections.items(), MAX_REPORTED_REJECTIONS)),
            denied={reason.value: count for reason, count in status.denied.items()},
        )

    def status(self) -> Status:
        """What is held now."""
        cache, feed = self._cache, self._feed
        return Status(
            ready=cache.ready and not cache.is_stale,
            connected=feed.connected,
            age=feed.age,
            revision=cache.revision,
            cursor=feed.cursor.decode(),
            tenants=len(cache),
            complete=cache.is_complete,
            rejections=dict(cache.rejections),
            denied=dict(self._denied),
        )
