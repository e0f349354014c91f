"""What commands take alike: tenants, with completion by the service; services; times."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import click
import httpx
from click.shell_completion import CompletionItem

from policy_service.cli.shared.api import Api, Failure

_COMPLETION_TIMEOUT = httpx.Timeout(1.0)
_MAX_COMPLETIONS = 100
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PERIOD = re.compile(r"([1-9]\d{0,3})([mhdw])", re.ASCII)


def _complete_tenant(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    found = []
    try:
        with Api.from_environment(_COMPLETION_TIMEOUT) as api:
            for item in api.items("/v1/tenants"):
                if item["tenant"].startswith(incomplete):
                    found.append(CompletionItem(item["tenant"], help=item["name"] or None))
                if len(found) == _MAX_COMPLETIONS or item["tenant"] > incomplete + "~":
                    break
    except Failure:
        return []
    return found


tenant_argument = click.argument("tenant", shell_complete=_complete_tenant)
optional_tenant_argument = click.argument("tenant", required=False, shell_complete=_complete_tenant)
tenant_option = partial(click.option, "--tenant", shell_complete=_complete_tenant)
service_option = click.option(
    "--service", default="default", show_default=True, help="The service whose policy is meant, or `default`."
)
reason_option = click.option("--reason", help="Why, for the history.")
confirm_option = click.option(
    "--confirm", is_flag=True, help="Do it even if it takes away more than half of a policy's origins."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class Moment(click.ParamType[str]):
    """A time in RFC 3339 form, or a period such as `3d`, from now or until now; gives the former."""

    name = "time"

    def __init__(self, sign: int) -> None:
        self._sign = sign

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        period = _PERIOD.fullmatch(value)
        if period is not None:
            instant = datetime.now(UTC) + self._sign * timedelta(**{_UNITS[period[2]]: int(period[1])})
            return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
        time = None
        with suppress(ValueError):
            time = datetime.fromisoformat(value)
        if time is None or time.tzinfo is None:
            what = "neither a period such as 90m, 12h, 3d or 2w nor a time such as 2099-01-31T12:00:00Z"
            self.fail(f"{value!r} is {what}.", param, ctx)
        return time.isoformat().replace("+00:00", "Z")


FROM_NOW, UNTIL_NOW = Moment(1), Moment(-1)


class Period(click.ParamType[int]):
    """A period such as `3d`; gives its seconds."""

    name = "period"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        period = None if isinstance(value, int) else _PERIOD.fullmatch(value)
        if period is None:
            self.fail(f"{value!r} is no period such as 90m, 12h, 3d or 2w.", param, ctx)
        return int(timedelta(**{_UNITS[period[2]]: int(period[1])}).total_seconds())
