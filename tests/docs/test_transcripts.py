"""The commands in the pages do what the pages say that they do."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import PAGES, SITTINGS, commands, prose
from tests.docs.sitting import Step, normalized, sit
from tests.support import ROOT


@pytest.mark.parametrize("pages", SITTINGS, ids=lambda pages: pages[0])
def test_transcripts_reproduce(pages: Sequence[str]) -> None:
    # Not tmp_path: another session of pytest closes the folder above it to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory() as folder:
        steps = list(sit(pages, Path(folder)))
    assert {step.page for step in steps} == set(pages)
    wrong = [_report(step) for step in steps if not step.is_as_documented]
    assert not wrong, "\n".join([*wrong, "If the new outputs are right: python -m tests.docs --update"])


def test_every_command_is_in_a_block_that_is_run() -> None:
    in_a_sitting = {ROOT / page for pages in SITTINGS for page in pages}
    command = re.compile(r"^(?: {4}|\t)(?:curl|corspolicy|export|make|pip|python3?) .*$", re.MULTILINE)
    for page in PAGES:
        text = page.read_text()
        assert command.findall(prose(text)) == [], f"{page}: fence it as sh"
        assert page in in_a_sitting or not list(commands(text)), f"{page}: add it to a sitting"


def test_the_workflow_runs_the_request_that_is_tested() -> None:
    page = (ROOT / "docs" / "preview-deployments.md").read_text()
    workflow = re.search(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert workflow is not None
    run = yaml.safe_load(workflow[1])["jobs"]["preview"]["steps"][-1]["run"]
    assert run in [command.text for command in commands(page)]


def _report(step: Step) -> str:
    where = f"{step.page}:{step.command.line}"
    if step.command.output is None:
        return f"{where}: exit code {step.code}\n{step.printed}"
    documented, printed = normalized(step.command.output), normalized(step.printed)
    return "\n".join(unified_diff(documented.split("\n"), printed.split("\n"), where, "printed", lineterm=""))
