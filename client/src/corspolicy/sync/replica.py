"""What one event loop holds, and the tasks that keep it: the feed, the fetcher, the last-known-good file."""

from __future__ import annotations

import asyncio
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

from redis.exceptions import RedisError

from corspolicy.core.decision import Chain, Reason
from corspolicy.status import MAX_REPORTED_REJECTIONS, Report, Status
from corspolicy.sync.cache import Cache
from corspolicy.sync.feed import Feed
from corspolicy.sync.fetcher import Fetcher
from corspolicy.sync.keeper import Keeper
from corspolicy.sync.logs import logger
from corspolicy.sync.reporter import Reporter
from corspolicy.sync.signatures import Verifier
from corspolicy.sync.wire import Keys

# Together two seconds.
CANCEL_SECONDS = 0.7
SAVE_SECONDS = 0.5
SIGN_OFF_SECONDS = 0.8
WATCH_SECONDS = 0.25


class Options(NamedTuple):
    """What `Policies` was made with."""

    redis_url: str
    keys: Keys
    capacity: int
    startup_timeout: float
    max_stale: float | None
    snapshot_path: Path | None
    public_keys: tuple[str, ...]


class Replica:
    """The policies that one event loop holds. Made and used in that loop."""

    def __init__(self, options: Options, services: Iterable[str], denied: Mapping[Reason, int]) -> None:
        """`services` and `denied` are those of the process, which go into its reports as they are then."""
        self._options = options
        self._services = services
        self._denied = denied
        self._started_at = time.time()
        # Once: it is looked up in the installed files.
        self._version = version("corspolicy")
        self._id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        keys = options.keys
        self._verifier = Verifier(keys.namespace, options.public_keys) if options.public_keys else None
        self._cache = Cache(options.capacity, options.max_stale, self._verifier)
        self._reporter = Reporter(keys, self._id, self._report)
        self._feed = Feed(options.redis_url, keys, self._cache, self._reporter)
        self._fetcher = Fetcher(self._feed.client, keys, self._cache)
        self.users = 0
        self._starting = self._start(self._wait_for_policies)
        self._keeper: Keeper | None = None
        self._tasks = [self._start(self._follow), self._starting, self._start(self._fetcher.run)]
        if options.snapshot_path is not None:
            self._keeper = Keeper(options.snapshot_path, keys.namespace, self._cache, self._feed)
            self._tasks += [self._start(self._restore), self._start(self._keeper.run)]
        if options.max_stale is not None:
            self._tasks.append(self._start(self._log_staleness))

    def _start(self, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await run()
            except Exception:
                logger.exception("a task of the policies failed: %s", run.__qualname__)

        return asyncio.get_running_loop().create_task(guarded(), name=f"corspolicy {run.__name__}")

    async def _follow(self) -> None:
        if self._keeper is not None:
            await self._keeper.note_age()
        await self._feed.run()

    def chains(self, service: str) -> dict[str, Chain]:
        """The chains of `service` compiled so far, by tenant; always the same mapping."""
        return self._cache.chains(service)

    async def chain(self, service: str, tenant: str | None) -> Chain:
        """The chain of any tenant. Waits for the first policies as `wait_until_ready` does."""
        if not self._cache.ready:
            await self.wait_until_ready()
        if tenant is None or not self._cache.ready or not self._cache.is_missing(tenant):
            return self._cache.chain(service, tenant)
        self._cache.expect([tenant])
        try:
            await self._fetcher.fetch(tenant)
            return self._cache.chain(service, tenant)
        finally:
            self._cache.release([tenant])

    async def wait_until_ready(self) -> None:
        """Return when there are policies, or after `startup_timeout` without progress towards them."""
        # Shielded: one request that is given up must not end this for all.
        await asyncio.wait([self._starting])

    async def _wait_for_policies(self) -> None:
        await self._wait_while_progressing(self._options.startup_timeout, lambda: self._cache.ready)
        if not self._cache.ready:
            logger.warning("no policies yet: nothing is granted until Redis can be read")

    async def _restore(self) -> None:
        """Once Redis turns out to be out of reach at the start, cache what the file has.

        It is read in time: the file system may be as slow as Redis.
        """
        assert self._keeper is not None
        half = self._options.startup_timeout / 2
        await self._wait_while_progressing(half, lambda: self._cache.ready or self._feed.has_failed)
        if not self._cache.ready:
            await self._keeper.restore()

    async def _wait_while_progressing(self, seconds: float, condition: Callable[[], bool]) -> None:
        """Return when the condition is true, or nothing has come closer to it for so long."""
        while not condition():
            left = self._feed.progressed_at + seconds - time.monotonic()
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._feed.changed.wait()

    async def _log_staleness(self) -> None:
        """Tell people; requests look at the clock themselves."""
        was_stale = False
        while True:
            is_stale = self._cache.ready and self._cache.is_stale
            if is_stale != was_stale:
                logger.warning("the policies are %s", "too old: nothing is granted" if is_stale else "current again")
            was_stale = is_stale
            await asyncio.sleep(WATCH_SECONDS)

    async def wait_for(self, revision: int) -> None:
        """Return when `revision` is applied."""
        while self._cache.revision < revision:
            await self._feed.changed.wait()

    async def stop(self) -> None:
        """End all tasks, write the file a last time, and sign off; within two seconds."""
        must_save = self._keeper is not None and self._keeper.is_due
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=CANCEL_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(SAVE_SECONDS):
                if self._keeper is not None and must_save:
                    await self._keeper.save()
        if self._reporter.is_known:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(SIGN_OFF_SECONDS), self._feed.client() as redis:
                    await self._reporter.sign_off(redis)

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
            key_ids=[] if self._verifier is None else self._verifier.key_ids,
            tenants=status.tenants,
            complete=status.complete,
            rejections=dict(islice(status.rejections.items(), MAX_REPORTED_REJECTIONS)),
            denied={reason.value: count for reason, count in status.denied.items()},
        )

    def status(self) -> Status:
        """What is cached now."""
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
