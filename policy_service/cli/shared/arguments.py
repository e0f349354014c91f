"""Arguments and options that commands share: tenants, with completion; services; times."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import click
import httpx
from click.shell_completion import CompletionItem

from policy_service.cli.shared.api import Api, ApiError

_COMPLETION_TIMEOUT = httpx.Timeout(1.0)
_MAX_COMPLETIONS = 100
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PERIOD = re.compile(r"([1-9]\d{0,3})([mhdw])", re.ASCII)


def _complete_tenant(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    completions: list[CompletionItem] = []
    try:
        with Api.from_environment(_COMPLETION_TIMEOUT) as api:
            for item in api.items("/v1/tenants"):
                if item["tenant"].startswith(incomplete):
                    completions.append(CompletionItem(item["tenant"], help=item["name"] or None))
                if len(completions) == _MAX_COMPLETIONS or item["tenant"] > incomplete + "~":
                    break
    except ApiError:
        return []
    return completions


tenant_argument = click.argument("tenant", shell_complete=_complete_tenant)
optional_tenant_argument = click.argument("tenant", required=False, shell_complete=_complete_tenant)
tenant_option = partial(click.option, "--tenant", shell_complete=_complete_tenant)
service_option = click.option(
    "--service", default="default", show_default=True, help="The service that the policy is for, or `default`."
)
reason_option = click.option("--reason", help="The reason, for the history.")
confirm_option = click.option("--confirm", is_flag=True, help="Confirm removing more than half of a policy's origins.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


class Timestamp(click.ParamType[str]):
    """A timestamp in the form of RFC 3339, or a period such as `3d` before or after now; gives a timestamp."""

    name = "time"

    def __init__(self, sign: int) -> None:
        self._sign = sign

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        period = _PERIOD.fullmatch(value)
        if period is not None:
            time = datetime.now(UTC) + self._sign * timedelta(**{_UNITS[period[2]]: int(period[1])})
            return time.isoformat(timespec="seconds").replace("+00:00", "Z")
        given = None
        with suppress(ValueError):
            given = datetime.fromisoformat(value)
        if given is None or given.tzinfo is None:
            what = "neither a period such as 90m, 12h, 3d or 2w nor a time such as 2099-01-31T12:00:00Z"
            self.fail(f"{value!r} is {what}.", param, ctx)
        return given.isoformat().replace("+00:00", "Z")


FROM_NOW, BEFORE_NOW = Timestamp(1), Timestamp(-1)


class Period(click.ParamType[int]):
    """A period such as `3d`; gives its seconds."""

    name = "period"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        period = None if isinstance(value, int) else _PERIOD.fullmatch(value)
        if period is None:
            self.fail(f"{value!r} is not a period such as 90m, 12h, 3d or 2w.", param, ctx)
        return int(timedelta(**{_UNITS[period[2]]: int(period[1])}).total_seconds())
