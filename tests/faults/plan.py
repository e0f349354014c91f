"""What a random run does: rounds of writes and faults, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

LINE_FAULTS = ("cut", "silent", "requests lost", "answers lost", "half-open", "slow", "reset")
REDIS_LOSSES = ("emptied", "killed", "killed and emptied")
REDIS_FAULTS = ("paused", "stream cut", "stream shortened", "entries repeated")
# What breaks, which of them, how, and how likely in a round; and in a round with losses besides.
FAULTS: list[tuple[str, int, tuple[str, ...], float]] = [
    *(("line of client", number, LINE_FAULTS, 0.25) for number in range(3)),
    ("line of service", 0, LINE_FAULTS, 0.2),
    ("Redis", 0, REDIS_FAULTS, 0.5),
    ("PostgreSQL", 0, ("connections ended",), 0.2),
    *(("service", number, ("killed", "paused"), 0.1) for number in range(2)),
    *(("client", number, ("stopped", "paused"), 0.2) for number in range(4)),
]
# After these no receipt is given for 15 seconds, and rightly so: a process may be missing.
LOSSES: list[tuple[str, int, tuple[str, ...], float]] = [
    ("Redis", 0, REDIS_LOSSES, 0.6),
    ("PostgreSQL", 0, ("restored",), 0.5),
    *(("client", number, ("killed",), 0.3) for number in range(4)),
]
LOSSES_CHANCE = 0.2
WRITES = {"put": 4, "add": 4, "remove": 4, "delete": 1}
WAIT_CHANCE = 0.6
WAIT_SECONDS = 2


class Write(NamedTuple):
    kind: str
    tenant: str
    origins: tuple[str, ...]
    service: int
    wait: int
    """Seconds for which a receipt is waited for; 0: none is asked for."""
    pause: float


class Fault(NamedTuple):
    part: str
    number: int
    kind: str
    pause: float


class Round(NamedTuple):
    writes: list[Write]
    faults: list[Fault]
    is_reset: bool


def plan(seed: int, tenants: Mapping[str, Sequence[str]]) -> Iterator[Round]:
    """The rounds of a run: the same for the same seed."""
    draw = random.Random(seed)
    deleted: set[str] = set()
    while True:
        has_losses = draw.random() < LOSSES_CHANCE
        writes = []
        for _ in range(draw.randint(6, 16)):
            tenant = draw.choice(list(tenants))
            kind = "create" if tenant in deleted else draw.choices(list(WRITES), list(WRITES.values()))[0]
            deleted.discard(tenant)
            if kind == "delete":
                deleted.add(tenant)
            count = {"put": draw.randint(1, 4), "add": 1, "remove": 1}.get(kind, 0)
            origins = tuple(draw.sample(tenants[tenant], count))
            # Nothing is waited for that is known not to come soon.
            wait = WAIT_SECONDS if draw.random() < (WAIT_CHANCE / 4 if has_losses else WAIT_CHANCE) else 0
            writes.append(Write(kind, tenant, origins, draw.randrange(2), wait, draw.uniform(0, 0.4)))
        faults = [
            Fault(part, number, draw.choice(kinds), draw.uniform(0.1, 0.7))
            for part, number, kinds, chance in FAULTS + (LOSSES if has_losses else [])
            if draw.random() < chance
        ]
        draw.shuffle(faults)
        yield Round(writes, _once(faults), draw.random() < 0.5)


def _once(faults: list[Fault]) -> list[Fault]:
    """Each part breaks in one way at a time."""
    return list({(fault.part, fault.number): fault for fault in faults}.values())
