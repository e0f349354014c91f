"""`python -m tests.docs`: rewrites the outputs in the pages where a run prints something else."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.docs.pages import SITTINGS
from tests.docs.sitting import Step, publishable, sit
from tests.support import ROOT


def main() -> None:
    """Run all pages; rewrite those outputs, and report commands that failed."""
    for pages in SITTINGS:
        with tempfile.TemporaryDirectory() as folder:
            steps = list(sit(pages, Path(folder)))
        for page in pages:
            _update(page, [step for step in steps if step.page == page and not step.is_as_documented])


def _update(page: str, steps: list[Step]) -> None:
    text = (ROOT / page).read_text()
    for step in reversed(steps):
        where = f"{page}:{step.command.line}"
        if step.command.output is None:
            print(f"{where}: failed with exit code {step.code}:\n{step.printed}")
            continue
        print(f"{where}: rewritten")
        start, end = step.command.output_span
        text = text[:start] + publishable(step.printed) + text[end:]
    (ROOT / page).write_text(text)


if __name__ == "__main__":
    main()
