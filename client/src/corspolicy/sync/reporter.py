"""Tells the policy service what a process has applied, so that a write can be known to be enforced."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from corspolicy.status import Report
from corspolicy.sync.connection import Ask
from corspolicy.sync.logs import logger
from corspolicy.sync.wire import FORGET_SECONDS, REPORT_SECONDS, REPORT_TTL_SECONDS, Keys

DEBOUNCE_SECONDS = 0.05
# KEYS: the report's, those of all processes, what asks for a resync. ARGV: report, time to live, id, seconds after
# which ids are forgotten. The time is Redis's own: a process with a wrong clock would make it forget the others, or
# they it.
REPORT = """
local now = redis.call('TIME')[1]
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, now - ARGV[4])
return redis.call('DEL', KEYS[3])
"""


class Reporter:
    """Sends a process's reports, over whatever connection the feed has."""

    def __init__(self, keys: Keys, process: str, report: Callable[[], Report]) -> None:
        self._keys = keys
        self._process = process
        self.name = keys.report(process)
        """The key of the report, and the name of the connection that follows: who follows and can't report shows."""
        self._report = report
        self._reported_at = -REPORT_SECONDS
        self._may_run_scripts = True
        self._has_warned = False
        self.has_news = True
        """Whether something has changed since the last report."""
        self.is_known = False
        """Whether a report has reached Redis."""

    @property
    def is_due(self) -> bool:
        """Whether to report now: soon after a change, and regularly."""
        silence = time.monotonic() - self._reported_at
        return silence >= (DEBOUNCE_SECONDS if self.has_news else REPORT_SECONDS)

    async def send(self, redis: Redis, ask: Ask) -> bool:
        """Report; whether the service asks for a new snapshot."""
        self.has_news = False
        # From its beginning, so that reports keep coming where each takes long.
        self._reported_at = time.monotonic()
        report = self._report().to_bytes()
        try:
            must_resync = await self._write(redis, ask, report)
        except ResponseError as error:
            # A replica, or a user who may only read: policies are followed all the same.
            level = logging.DEBUG if self._has_warned else logging.WARNING
            logger.log(
                level,
                "this process can't report to Redis what it applies, and no receipt covers it (%s). Let its user EVAL, "
                "or SET, ZADD, ZREM, TIME and DEL, on %s:*",
                *(error, self._keys.hash_tag),
            )
            self._has_warned = True
            return False
        self.is_known, self._has_warned = True, False
        return must_resync

    async def _write(self, redis: Redis, ask: Ask, report: bytes) -> bool:
        names = self.name, self._keys.processes, self._keys.resync(self._process)
        if self._may_run_scripts:
            values = report, REPORT_TTL_SECONDS, self._process, FORGET_SECONDS
            try:
                return bool(await ask(redis.eval(REPORT, len(names), *names, *values)))
            except ResponseError as error:
                logger.debug("reporting by plain commands: %s", error)
        name, processes, resync = names
        seconds, _ = await ask(redis.time())
        await ask(redis.set(name, report, ex=REPORT_TTL_SECONDS))
        await ask(redis.zadd(processes, {self._process: seconds}))
        self._may_run_scripts = False
        return bool(await ask(redis.delete(resync)))

    async def sign_off(self, redis: Redis) -> None:
        """Remove the report: this process has stopped, and no write is to wait for it."""
        await redis.zrem(self._keys.processes, self._process)
        await redis.delete(self.name)
