"""Large checks run beside the event loop, one of a key at a time, and cost the key what they take."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from policy_service.auth.callers import Caller
from policy_service.auth.checks import SECONDS_PER_TOKEN, Checks
from policy_service.auth.rate_limits import RateLimit
from policy_service.errors import Problem

ONE, OTHER = Caller("key:one"), Caller("key:other")
BURST = 100


def _checks(requests: RateLimit | None = None, seconds: float = 10) -> Checks:
    return Checks(requests or RateLimit(0.001, BURST), seconds)


def test_a_key_has_one_check_at_a_time_and_another_key_does_not_wait_for_it() -> None:
    async def run() -> None:
        checks, first, second = _checks(), threading.Event(), threading.Event()
        try:
            waiting = asyncio.create_task(checks.run(ONE, first.wait, 10))
            next_one = asyncio.create_task(checks.run(ONE, second.set))
            # Where the event loop itself ran the first check, this would come after it.
            assert await checks.run(OTHER, lambda: "at once") == "at once"
            assert not second.is_set()
            first.set()
            assert await waiting
            await next_one
        finally:
            first.set()
            checks.close()

    asyncio.run(run())


def test_it_is_the_turn_of_a_check_until_its_thread_ends_also_if_nobody_waits_for_it() -> None:
    async def run() -> None:
        checks, end = _checks(seconds=0.2), threading.Event()
        try:
            abandoned = asyncio.create_task(checks.run(ONE, end.wait, 10))
            await asyncio.sleep(0)
            abandoned.cancel()
            with pytest.raises(Problem, match="CORSPOLICY_QUEUE_TIMEOUT_SECONDS") as error:
                await checks.run(ONE, lambda: None)
            assert error.value.status == 503
            assert error.value.headers is not None
            assert "Retry-After" in error.value.headers
            end.set()
            await checks.run(OTHER, lambda: None)
        finally:
            end.set()
            checks.close()

    asyncio.run(run())


def test_a_check_costs_what_it_takes_also_if_it_finds_a_problem() -> None:
    def work() -> None:
        until = time.thread_time() + 10 * SECONDS_PER_TOKEN
        while time.thread_time() < until:
            pass
        raise Problem(422, "invalid-policy", "Nothing was changed: see errors.")

    async def run() -> None:
        requests = RateLimit(0.001, 10)
        checks = _checks(requests)
        with pytest.raises(Problem, match="Nothing was changed"):
            await checks.run(ONE, work)
        assert requests.wait("one") > 0
        assert requests.wait("other") == 0
        checks.close()

    asyncio.run(run())
