from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support import Api
from tests.up import Up

_TIMEOUT_MILLISECONDS = 20_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("demo") / "data", "--demo") as up:
        up.wait_until_running()
        yield up


def test_a_change_is_enforced_in_an_open_page(demo: Up, page: Page) -> None:
    service, api, own = (f"http://localhost:{demo.port + offset}" for offset in range(3))
    requested: list[str] = []
    loaded: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("load", lambda loaded_page: loaded.append(loaded_page.url))
    verdict = page.get_by_role("status")

    page.goto(own)
    expect(page.get_by_text(own)).to_be_visible()
    _expect(verdict, "The browser refused.")

    admin = Api(service, demo.key)
    with admin.http:
        entry = admin.allow("demo", own)
        _expect(verdict, "The browser let it through.")

        admin.remove("demo", entry["id"])
        _expect(verdict, "The browser refused.")

    assert loaded == [f"{own}/"]
    # Nothing from elsewhere, and no other page.
    assert set(requested) == {f"{own}/", f"{api}/greeting"}


def _expect(verdict: Locator, title: str) -> None:
    expect(verdict.get_by_role("heading")).to_have_text(title, timeout=_TIMEOUT_MILLISECONDS)
