"""A slug that is given to somebody else: the new one's key sees nothing of what was before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.service.following import Following
from tests.service.helpers import client_with, new_key, problem
from tests.support import Api

FORMER, OWN = "https://former.example.com", "https://own.example.com"
ANY = {"If-Match": "*"}


class Given(NamedTuple):
    """A tenant created, deleted and created again."""

    tenant: str
    former: list[int]
    """The former owner's revisions, the deletion last."""
    own: list[int]
    http: httpx.Client
    """With a key to that tenant alone."""


def _revisions(http: httpx.Client, path: str, **parameters: Any) -> list[int]:
    answer = http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return sorted(item["revision"] for item in answer.json()["items"])


@pytest.fixture
def given(api: Api) -> Iterator[Given]:
    tenant = api.new_tenant("given")
    api.allow(tenant, FORMER)
    api.delete_tenant(tenant)
    former = _revisions(api.http, f"/v1/tenants/{tenant}/changes")
    assert api.http.post("/v1/tenants", json={"tenant": tenant}).status_code == 201
    api.allow(tenant, OWN)
    own = _revisions(api.http, f"/v1/tenants/{tenant}/changes")[len(former) :]
    assert (len(former), len(own)) == (3, 2)
    key = new_key(api, role="tenant", tenants=[tenant], may_write=True)["key"]
    with client_with(api, key) as http:
        yield Given(tenant, former, own, http)


def test_lists_begin_at_the_last_creation(given: Given) -> None:
    assert _revisions(given.http, f"/v1/tenants/{given.tenant}/changes") == given.own
    assert _revisions(given.http, "/v1/changes") == given.own
    assert _revisions(given.http, "/v1/changes", tenant=given.tenant, since="2001-01-01T00:00:00Z") == given.own
    page = given.http.get(f"/v1/tenants/{given.tenant}/changes", params={"limit": 2}).json()
    assert page["next_cursor"] is None


def test_a_former_revision_is_not_found(given: Given) -> None:
    for revision in given.former:
        path = f"/v1/tenants/{given.tenant}/changes/{revision}"
        problem(given.http.get(path), 404, "unknown-revision")
        problem(given.http.get(f"/v1/revisions/{revision}/propagation"), 404, "unknown-revision")
        body = {"revision": revision}
        problem(given.http.post(f"/v1/tenants/{given.tenant}/restore", json=body, headers=ANY), 404, "unknown-revision")
        question = {"tenant": given.tenant, "headers": {"Origin": FORMER}, "revision": revision}
        problem(given.http.post("/v1/decisions", json=question), 404, "unknown-revision")
    for revision in given.own:
        assert given.http.get(f"/v1/tenants/{given.tenant}/changes/{revision}").status_code == 200
        question = {"tenant": given.tenant, "headers": {"Origin": OWN}, "revision": revision}
        assert given.http.post("/v1/decisions", json=question).status_code == 200
    policy = given.http.get(f"/v1/tenants/{given.tenant}/policies/default").json()
    assert [entry["pattern"] for entry in policy["allow_origins"]] == [OWN]


def test_a_stream_begins_there_too(given: Given) -> None:
    with Following(given.http, since="2001-01-01T00:00:00Z") as following:
        events = following.wait_for(given.tenant, 2)
    assert [event.change["revision"] for event in events] == given.own
    assert len(following.events) == 2


def test_keys_to_all_tenants_see_everything(api: Api, given: Given) -> None:
    with client_with(api, new_key(api, role="reader")["key"]) as reader:
        for http in (api.http, reader):
            assert _revisions(http, f"/v1/tenants/{given.tenant}/changes") == [*given.former, *given.own]


def test_a_deletion_is_the_last_that_its_owner_sees(api: Api, given: Given) -> None:
    api.delete_tenant(given.tenant)
    seen = _revisions(given.http, f"/v1/tenants/{given.tenant}/changes")
    assert seen[:-1] == given.own
    assert given.http.get(f"/v1/tenants/{given.tenant}/changes/{seen[-1]}").json()["action"] == "tenant.delete"
    # Brought back by an administrator, it begins again.
    body = {"revision": given.own[-1]}
    restored = api.http.post(f"/v1/tenants/{given.tenant}/restore", json=body, headers=ANY)
    assert restored.status_code == 200, restored.text
    assert _revisions(given.http, f"/v1/tenants/{given.tenant}/changes") == [restored.json()["revision"]]
