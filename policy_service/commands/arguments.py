"""What commands take alike: tenants, with completion by the service; services; times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click
import httpx
from click.shell_completion import CompletionItem

from policy_service.commands.api import Api, Failure

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
service_option = click.option(
    "--service", default="default", show_default=True, help="The service whose policy is meant, or `default`."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class Expiry(click.ParamType[str]):
    """`3d` from now, or a time in RFC 3339 form; gives the latter."""

    name = "expiry"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        period = _PERIOD.fullmatch(value)
        if period is not None:
            end = datetime.now(UTC) + timedelta(**{_UNITS[period[2]]: int(period[1])})
            return end.isoformat(timespec="seconds").replace("+00:00", "Z")
        try:
            has_zone = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            has_zone = False
        if not has_zone:
            what = "neither a period such as 90m, 12h, 3d or 2w nor a time such as 2030-01-31T12:00:00Z"
            self.fail(f"{value!r} is {what}.", param, ctx)
        return value
