"""Applying a plan: one request for each tenant, a few at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from policy_service.cli.gitops.plan import Step
from policy_service.cli.shared.api import Api, ApiError, Rejected, WriteOptions

CONCURRENCY = 4
# These concern one tenant only; after any other status, the next request would be rejected as well.
_OF_ONE_TENANT = frozenset((403, 404, 409, 412, 413, 422, 428))


@dataclass
class Applied:
    """How many steps were applied, which were rejected and why, and what stopped it early, if anything did."""

    done: int = 0
    rejections: list[str] = field(default_factory=list)
    stopped_by: ApiError | None = None
    is_interrupted: bool = False


def apply(api: Api, steps: Sequence[Step], options: WriteOptions) -> Applied:
    """Apply the steps. A step that is rejected does not stop the others; an unreachable service does.

    After Ctrl-C, requests in flight are completed, and no other is sent.
    """
    applied = Applied()
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        futures = {threads.submit(_apply, api, step, options): step for step in steps}
        try:
            with _progress(as_completed(futures), len(steps)) as finished:
                for future in finished:
                    error = future.exception()
                    if isinstance(error, Rejected) and error.status in _OF_ONE_TENANT:
                        applied.rejections.append(f"{futures[future].tenant}: {error.format_message()}")
                    elif error is not None:
                        raise error
        except ApiError as error:
            applied.stopped_by = error
        except KeyboardInterrupt:
            applied.is_interrupted = True
        finally:
            threads.shutdown(cancel_futures=True)
    applied.done = sum(not future.cancelled() and future.exception() is None for future in futures)
    return applied


def _apply(api: Api, step: Step, options: WriteOptions) -> None:
    path = f"/v1/tenants/{step.tenant}"
    if step.action == "delete":
        api.call("DELETE", path, revision=step.revision, options=options)
        return
    try:
        api.call("PUT", path, step.body(), revision=step.revision, options=options)
    except Rejected as error:
        if error.code == "precondition-required":
            message = "It was created in the meantime: run the command again."
            raise Rejected(message, error.status, error.code) from error
        raise


@contextmanager
def _progress(finished: Iterable[Future[None]], count: int) -> Iterator[Iterable[Future[None]]]:
    if sys.stderr.isatty():
        with click.progressbar(finished, length=count, label="Applying", file=sys.stderr) as bar:
            yield bar
    else:
        yield finished
