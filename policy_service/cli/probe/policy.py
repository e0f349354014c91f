"""What a policy means for a page: the same judge, on the responses that the admin API says the policy gives."""

from __future__ import annotations

from typing import Any

from policy_service.cli.probe.judge import Fetch, Request, Response, Verdict
from policy_service.cli.shared.api import Api

# No secret of the page's goes to the admin API, and no decision depends on one.
_ASKED = ("origin", "access-control-request-method", "access-control-request-headers")


def expected(api: Api, tenant: str, service: str, steps: Fetch) -> tuple[Verdict, str]:
    """What a browser would conclude if the policy's responses arrived unchanged, and the policy's own explanation.

    `steps` is a `fetch` of the judge. Raises Failure.
    """
    message = ""
    try:
        request = next(steps)
        while True:
            decision = _decide(api, tenant, service, request)
            message = decision["message"]
            lines = tuple((name, value) for name, value in decision["headers"])
            request = steps.send(Response(decision["status"] or 200, lines))
    except StopIteration as end:
        return end.value, message


def _decide(api: Api, tenant: str, service: str, request: Request) -> dict[str, Any]:
    headers = {name: value for name, value in request.headers if name.lower() in _ASKED}
    question = {"tenant": tenant, "service": service, "method": request.method, "headers": headers}
    decision: dict[str, Any] = api.call("POST", "/v1/decisions", question)
    return decision
