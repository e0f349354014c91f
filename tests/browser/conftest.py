"""A real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

# None of its own conversations: what it asks for is what the page asks for. And no names but those of this machine.
_QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
_LOCAL = ["--host-resolver-rules=MAP * 127.0.0.1"]


@pytest.fixture
def page() -> Iterator[Page]:
    """A new tab of a real browser, to which every host name is this machine."""
    chromium = shutil.which("chromium")
    if chromium is None and os.environ.get("CI") != "true":
        pytest.skip("there is no Chromium")
    assert chromium is not None, "no chromium on the PATH"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", *_QUIET, *_LOCAL]
        with playwright.chromium.launch(executable_path=chromium, args=arguments) as browser:
            yield browser.new_page()
