"""/v1/revisions"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from policy_service.auth.key_watch import KeyWatch
from policy_service.http.container import part
from policy_service.http.dependencies import CallerDep, SessionsDep
from policy_service.models import MAX_REVISION
from policy_service.propagation.schemas import Propagation
from policy_service.propagation.service import MAX_WAIT_SECONDS, Propagations

router = APIRouter(prefix="/v1/revisions", tags=["fleet"])

Wait = Annotated[
    int, Query(ge=0, le=MAX_WAIT_SECONDS, description="how many seconds to wait until no process is pending")
]


@router.get("/{revision}/propagation", operation_id="get_propagation")
async def get_propagation(
    propagations: Annotated[Propagations, part(Propagations)],
    key_watch: Annotated[KeyWatch, part(KeyWatch)],
    sessions: SessionsDep,
    caller: CallerDep,
    revision: Annotated[int, Path(ge=1, le=MAX_REVISION)],
    wait: Wait = 0,
) -> Propagation:
    """Which of the live processes apply a change: the one whose answer had this revision as its ETag."""
    return await key_watch.while_valid(caller, propagations.read(sessions, caller, revision, wait))
