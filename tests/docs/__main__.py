"""`python -m tests.docs --update`: runs the pages, and rewrites their outputs where a run prints something else."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.docs.pages import SITTINGS
from tests.docs.sitting import Step, publishable, sit
from tests.support import ROOT


def main() -> None:
    """Run all pages; name the blocks that differ, and commands that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs")
    parser.add_argument("--update", action="store_true", help="rewrite the outputs that differ")
    update = parser.parse_args().update
    for pages in SITTINGS:
        with tempfile.TemporaryDirectory() as folder:
            different = [step for step in sit(pages, Path(folder)) if not step.is_as_documented]
        for step in different:
            print(f"{step.page}:{step.command.line}:\n{step.printed}")
        if update:
            for page in pages:
                _rewrite(ROOT / page, [step for step in different if step.page == page])


def _rewrite(page: Path, steps: list[Step]) -> None:
    text = page.read_text()
    # From the last to the first: the places of those before stay right.
    for step in reversed(steps):
        if step.command.output is not None:
            start, end = step.command.output_span
            text = text[:start] + publishable(step.printed) + text[end:]
    page.write_text(text)


if __name__ == "__main__":
    main()
