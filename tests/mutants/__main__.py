"""What the tests of faults are worth: `make mutants` takes out each mechanism that guards against one.

Every time in a copy of the repository, where the test of that fault then has to fail. Ends with 1 if one does not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.client import CLIENT_MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.service import SERVICE_MUTANTS
from tests.support import ROOT

TIMEOUT_SECONDS = 300
COPIED = ("client", "migrations", "policy_service", "tests", "pyproject.toml")
MUTANTS = [*CLIENT_MUTANTS, *SERVICE_MUTANTS]


def failure_without(mutant: Mutant) -> str | None:
    """How the test fails without the mechanism; None if it passes."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
        file = copy / mutant.file
        text = file.read_text()
        assert text.count(mutant.old) == 1, f"{mutant.file} does not have it just once: {mutant.old!r}"
        file.write_text(text.replace(mutant.old, mutant.new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutant.test]
        environment = {
            **os.environ,
            "PYTHONPATH": f"{copy / 'client' / 'src'}{os.pathsep}{copy}",
            "COLUMNS": "240",
        }
        done = subprocess.run(
            command, cwd=copy, env=environment, timeout=TIMEOUT_SECONDS, capture_output=True, text=True
        )
        if done.returncode == 0:
            return None
        # An error of a fixture, or of pytest itself, says nothing of the mechanism.
        failed = re.search(r"^FAILED .*? - (.*)", done.stdout, re.MULTILINE)
        assert failed is not None, done.stdout + done.stderr
        return failed[1]


def main() -> int:
    survivors = 0
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.mechanism for word in sys.argv[1:])]
    for mutant in chosen:
        failure = failure_without(mutant)
        survivors += failure is None
        print(f"taken out: {mutant.mechanism}")
        print(f"  {mutant.test}\n  {'PASSES ALL THE SAME' if failure is None else failure}", flush=True)
    print(f"{len(chosen)} mechanisms taken out, {survivors} not found out")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
