"""The entry that allowed the origin until it expired."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from corspolicy.core.decision import Decision
from corspolicy.core.policy import format_time
from policy_service.decisions.inputs import DecisionContext, DecisionInput
from policy_service.decisions.near_misses.wording import near_miss, pattern_of, sent_origin
from policy_service.decisions.schemas import NearMiss


def find(request: DecisionInput, context: DecisionContext) -> Iterator[NearMiss]:
    """The entry that expired last."""
    # As an actual request: methods and headers do not expire.
    actual = request._replace(method="GET")
    last: Decision | None = None
    moment = -math.inf
    while (earlier := actual._replace(now=moment).decide()).policy is not None:
        last, moment = earlier, earlier.until
    if last is not None and context.shows(last):
        sent = sent_origin(request)
        message = (
            f"{sent} was allowed by {pattern_of(last)} until {_when(moment, request.now)}: "
            "allow it again, with a later expires_at or without one."
        )
        yield near_miss(["expired"], message, last, sent)


def _when(moment: float, now: float) -> str:
    day, today = (datetime.fromtimestamp(each, UTC).date() for each in (moment, now))
    days = (today - day).days
    return {0: "today, ", 1: "yesterday, "}.get(days, "") + format_time(moment)
