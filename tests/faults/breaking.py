"""Ways to break a line, a Redis or a process for as long as a block lasts."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tests.faults.line import Line
from tests.faults.proxy import BOTH, Proxy, Way
from tests.keys import CHANGES, DOCUMENTS
from tests.support import Process


@contextlib.contextmanager
def broken_line(proxy: Proxy, kind: str) -> Iterator[None]:
    """One of the plan's faults of a line."""
    do: dict[str, Callable[[], None]] = {
        "cut": proxy.cut,
        "silent": partial(proxy.silence, *BOTH),
        "requests lost": partial(proxy.silence, Way.UP),
        "answers lost": partial(proxy.silence, Way.DOWN),
        "half-open": partial(proxy.silence, *BOTH, new=False),
        "slow": partial(proxy.slow_down, 0.2),
        "reset": proxy.reset,
    }
    do[kind]()
    yield
    proxy.heal()


@contextlib.contextmanager
def broken_process(process: Process, kind: str, start: Callable[[], None]) -> Iterator[None]:
    """Killed, stopped in order, or paused; `start` starts it again."""
    if kind == "paused":
        process.signal(signal.SIGSTOP)
        yield
        process.signal(signal.SIGCONT)
    else:
        (process.kill if kind == "killed" else process.stop)()
        yield
        start()


@contextlib.contextmanager
def broken_redis(line: Line, kind: str) -> Iterator[None]:
    """One of the plan's faults of Redis."""
    client: Any = line.published.redis
    if kind.startswith("killed"):
        line.redis.kill()
        yield
        line.redis.start(empty=kind == "killed and emptied")
        keep_everything(line)
    elif kind == "paused":
        with line.redis.paused():
            yield
    elif kind.startswith("stream"):
        yield
        client.xtrim(CHANGES, maxlen=0 if kind == "stream cut" else 1, approximate=False)
    else:
        if kind == "emptied":
            client.flushall()
        else:
            for tenant, envelope in client.hgetall(DOCUMENTS).items():
                client.xadd(CHANGES, {"tenant": tenant, "envelope": envelope, "previous": "0-0"})
        yield


def keep_everything(line: Line) -> None:
    """Redis loses nothing that it has answered; by default it may lose a second, when it is killed.

    A client that starts then would start with an older truth, until the publisher has seen it and written everything
    again.
    """
    client: Any = line.published.redis
    client.config_set("appendfsync", "always")


@contextlib.contextmanager
def ended_connections(line: Line) -> Iterator[None]:
    """Every connection to the database is ended."""
    with line.sql() as sql:
        sql.terminate("true")
    yield
