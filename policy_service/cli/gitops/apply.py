"""Carrying out a plan: a request a tenant, a few at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from policy_service.cli.gitops.plan import Step
from policy_service.cli.shared.api import Api, Asked, Failure, Refused

CONCURRENCY = 4
# What is wrong with one tenant only; after any other refusal the next would be refused as well.
_OF_ONE_TENANT = frozenset((403, 404, 409, 412, 413, 422, 428))


@dataclass
class Applied:
    """What was done, what was refused and why, and what ended it early, if anything did."""

    done: int = 0
    refusals: list[str] = field(default_factory=list)
    stopped_by: Failure | None = None
    is_interrupted: bool = False


def apply(api: Api, steps: Sequence[Step], asked: Asked) -> Applied:
    """Carry out the steps. What is wrong with a tenant does not keep the others; a service out of reach does.

    After Ctrl-C the requests that are under way end, and no other begins.
    """
    applied = Applied()
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        futures = {threads.submit(_apply, api, step, asked): step for step in steps}
        try:
            with _progress(as_completed(futures), len(steps)) as finished:
                for future in finished:
                    error = future.exception()
                    if isinstance(error, Refused) and error.status in _OF_ONE_TENANT:
                        applied.refusals.append(f"{futures[future].tenant}: {error.format_message()}")
                    elif error is not None:
                        raise error
        except Failure as error:
            applied.stopped_by = error
        except KeyboardInterrupt:
            applied.is_interrupted = True
        finally:
            threads.shutdown(cancel_futures=True)
    applied.done = sum(not future.cancelled() and future.exception() is None for future in futures)
    return applied


def _apply(api: Api, step: Step, asked: Asked) -> None:
    path = f"/v1/tenants/{step.tenant}"
    if step.action == "delete":
        api.call("DELETE", path, revision=step.revision, asked=asked)
        return
    try:
        api.call("PUT", path, step.body(), revision=step.revision, asked=asked)
    except Refused as error:
        if error.code == "precondition-required":
            raise Refused("Somebody has created it meanwhile: run the same again.", error.status, error.code) from error
        raise


@contextmanager
def _progress(finished: Iterable[Future[None]], count: int) -> Iterator[Iterable[Future[None]]]:
    if sys.stderr.isatty():
        with click.progressbar(finished, length=count, label="Applying", file=sys.stderr) as bar:
            yield bar
    else:
        yield finished
