"""Who is next, where there is less than what is asked for; in one event loop, without servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from policy_service.auth.shares import Shares, Turns
from policy_service.errors import Problem
from policy_service.settings import Settings

SECONDS = 10.0


class _Line:
    """Requests that have a turn until they are let go, and the order in which they got theirs."""

    def __init__(self, turn: Callable[[str], AbstractAsyncContextManager[None]]) -> None:
        self._turn = turn
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self.order: list[str] = []

    async def ask(self, *requests: str) -> None:
        """A request is the name that asks, and a digit."""
        for request in requests:
            self._ends[request] = asyncio.Event()
            self.tasks[request] = asyncio.create_task(self._have(request))
        await _settle()

    async def end(self, request: str) -> None:
        self._ends[request].set()
        await self.tasks[request]
        await _settle()

    async def cancel(self, *requests: str) -> None:
        for request in requests:
            self.tasks[request].cancel()
        await asyncio.wait([self.tasks[request] for request in requests])
        await _settle()

    async def _have(self, request: str) -> None:
        async with self._turn(request[:-1]):
            self.order.append(request)
            await self._ends[request].wait()


async def _settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def _run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(SECONDS):
            await test()

    asyncio.run(limited())


def test_a_name_has_its_share_and_the_names_take_turns() -> None:
    async def test() -> None:
        turns = Turns(3, 2, SECONDS)
        line = _Line(turns.turn)
        await line.ask("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        assert line.order == ["a1", "a2", "b1"]
        await line.end("b1")
        assert line.order[3:] == ["b2"]
        await line.end("a1")
        # `a` has waited longer than `c`.
        assert line.order[4:] == ["a3"]
        for request in ("a2", "b2", "a3", "c1", "a4"):
            await line.end(request)
        assert turns.are_idle

    _run(test)


def test_the_many_of_one_name_do_not_delay_the_one_of_another() -> None:
    async def test() -> None:
        line = _Line(Turns(1, 1, SECONDS).turn)
        await line.ask(*(f"a{number}" for number in range(9)))
        await line.ask("b0")
        await line.end("a0")
        await line.end(line.order[-1])
        assert "b0" in line.order[:3]
        await line.cancel(*(f"a{number}" for number in range(9) if f"a{number}" not in line.order))

    _run(test)


def test_nothing_is_lost_with_those_who_go_away() -> None:
    async def test() -> None:
        turns = Turns(1, 1, SECONDS)
        line = _Line(turns.turn)
        await line.ask("a1", "a2", "b1", "b2")
        await line.cancel("a1", "a2")
        await line.cancel("b1")
        assert line.order[-1] == "b2"
        await line.cancel("b2")
        assert turns.are_idle
        async with turns.turn("a"):
            last = asyncio.create_task(line.ask("a3"))
            await _settle()
        # In the same moment that its turn comes.
        line.tasks["a3"].cancel()
        await asyncio.wait({last, line.tasks["a3"]})
        assert turns.are_idle

    _run(test)


def test_who_waits_too_long_is_told() -> None:
    async def test() -> None:
        turns = Turns(1, 1, 0.01)
        async with turns.turn("a"):
            with pytest.raises(Problem, match="CORSPOLICY_QUEUE_TIMEOUT_SECONDS") as raised:
                async with turns.turn("b"):
                    pass
        assert (raised.value.status, raised.value.type) == (503, "busy")
        assert raised.value.headers == {"Retry-After": "1"}
        assert turns.are_idle

    _run(test)


def test_a_tenant_has_one_write_at_a_time_and_no_other_waits_for_it() -> None:
    shares = Shares(Settings(database_url="postgresql://unused", redis_url="redis://unused"))

    @asynccontextmanager
    async def write(tenant: str) -> AsyncIterator[None]:
        async with shares.write(tenant, "key:1"):
            yield

    async def test() -> None:
        line = _Line(write)
        await line.ask("acme1", "acme2", "globex1")
        assert line.order == ["acme1", "globex1"]
        await line.end("acme1")
        assert line.order[2:] == ["acme2"]
        await line.cancel("acme2", "globex1")
        assert not shares._writes

    _run(test)
