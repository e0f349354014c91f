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
from tests.mutants.mutant import FAULTS, Mutant
from tests.support import ROOT

TIMEOUT_SECONDS = 300
COPIED = ("client", "policy_service", "tests", "pyproject.toml")
PUBLISHER, PUBLISHER_STORE = "policy_service/publisher/leader.py", "policy_service/publisher/store.py"


MUTANTS = [
    *CLIENT_MUTANTS,
    Mutant(
        "a change is marked only when it is published",
        PUBLISHER,
        "        await self._write_documents(envelopes, announce=True)\n"
        "        await store.mark_published(connection, [change.revision for change in batch])\n",
        "        await store.mark_published(connection, [change.revision for change in batch])\n"
        "        await self._write_documents(envelopes, announce=True)\n",
        FAULTS + "service.py::test_the_service_is_killed_between_commit_and_publish",
    ),
    Mutant(
        "Redis refuses a revision that is not higher",
        PUBLISHER,
        "if not held_revision or held_revision < tonumber(string.match(ARGV[i + 1], '^%d+')) then",
        "if true then",
        FAULTS + "service.py::test_the_service_is_killed_between_publish_and_mark",
    ),
    Mutant(
        "Redis refuses documents of an earlier leader",
        PUBLISHER,
        "_WRITE = (\n    _CHECK_TERM\n",
        "_WRITE = (\n    ''\n",
        FAULTS + "service.py::test_a_leader_that_wakes_while_it_writes_everything_anew[documents]",
    ),
    Mutant(
        "Redis refuses to be emptied by an earlier leader",
        PUBLISHER,
        "_BEGIN_EPOCH = (\n    _CHECK_TERM\n",
        "_BEGIN_EPOCH = (\n    ''\n",
        FAULTS + "service.py::test_a_leader_that_wakes_while_it_writes_everything_anew[beginning]",
    ),
    Mutant(
        "Redis refuses the epoch of an earlier leader",
        PUBLISHER,
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then",
        "if false then",
        FAULTS + "service.py::test_a_leader_that_wakes_while_it_writes_everything_anew[end]",
    ),
    Mutant(
        "an epoch ends only where its beginning is still known",
        PUBLISHER,
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then",
        "if tonumber(redis.call('GET', KEYS[1]) or '0') > tonumber(ARGV[1]) then",
        FAULTS + "redis.py::test_redis_is_emptied_again_before_everything_is_written_anew",
    ),
    Mutant(
        "the leader looks every second whether Redis has what was published",
        PUBLISHER,
        "if time.monotonic() - checked_at >= CHECK_SECONDS:",
        "if False:",
        FAULTS + "redis.py::test_a_client_that_starts_after_redis_was_emptied_gets_everything",
    ),
    Mutant(
        "and whether it is the same Redis",
        PUBLISHER_STORE,
        "(found.decode(), await history_of(redis)) == (epoch, history)",
        "found.decode() == epoch",
        FAULTS + "redis.py::test_redis_is_overwritten_with_an_older_copy_of_itself",
    ),
    Mutant(
        "connections to PostgreSQL are tried before they are used",
        "policy_service/database.py",
        "pool_pre_ping=True",
        "pool_pre_ping=False",
        FAULTS + "service.py::test_every_connection_to_postgres_is_ended",
    ),
]


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
