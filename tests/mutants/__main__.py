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
from typing import NamedTuple

from tests.support import ROOT

TIMEOUT_SECONDS = 300
COPIED = ("client", "migrations", "policy_service", "tests", "pyproject.toml")
FEED, CACHE, CONNECTION, FETCHER, LAST_GOOD = (
    f"client/src/corspolicy/sync/{name}.py" for name in ("feed", "cache", "connection", "fetcher", "last_known_good")
)
DOCUMENT = "client/src/corspolicy/core/document.py"
PUBLISHER, PUBLISHER_STORE = "policy_service/publisher/leader.py", "policy_service/publisher/store.py"
FAULTS, CAPACITY = "tests/faults/test_", "tests/client/test_capacity.py::test_"


class Mutant(NamedTuple):
    """A mechanism, where it is, what stands there, what stands there instead, and the test that finds out."""

    mechanism: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = [
    Mutant(
        "silence means a dead connection",
        FEED,
        "asyncio.timeout(SILENCE_SECONDS)",
        "asyncio.timeout(None)",
        FAULTS + "connections.py::test_a_half_open_connection_is_found_although_nothing_says_so",
    ),
    Mutant(
        "a handshake has a time-out of its own",
        FEED,
        "asyncio.timeout(HANDSHAKE_SECONDS)",
        "asyncio.timeout(None)",
        FAULTS + "connections.py::test_a_line_that_is_silent_for_new_connections_too",
    ),
    Mutant(
        "the stream is followed from its end before the snapshot, not after it",
        FEED,
        "            await self._follow(redis, None, fresh)\n        return fresh\n\n    async def _read_held",
        "            self.cursor = await self._answer(last_id(redis))\n"
        "        return fresh\n\n    async def _read_held",
        FAULTS + "snapshots.py::test_a_change_during_a_snapshot",
    ),
    Mutant(
        "each entry names the one before it",
        FEED,
        "entry.previous != self.cursor or",
        "False or",
        FAULTS + "snapshots.py::test_the_stream_is_cut_past_the_cursor_of_a_client_that_is_away[1]",
    ),
    Mutant(
        "where nothing comes, the stream's last id is compared",
        FEED,
        "await self._answer(last_id(redis)) != self.cursor and",
        "False and",
        FAULTS + "snapshots.py::test_the_stream_is_cut_past_the_cursor_of_a_client_that_is_away[0]",
    ),
    Mutant(
        "the epoch is compared after a snapshot",
        FEED,
        "is_done = await self._answer(redis.get(EPOCH)) == epoch",
        "is_done = True",
        FAULTS + "snapshots.py::test_redis_is_emptied_during_a_snapshot",
    ),
    Mutant(
        "no epoch, no snapshot",
        FEED,
        "        if epoch is None:\n            return\n",
        "",
        FAULTS + "snapshots.py::test_redis_is_emptied_during_a_snapshot",
    ),
    Mutant(
        "what comes during a snapshot goes into it as well",
        FEED,
        "        if snapshot is not None and is_news:\n            snapshot[tenant] = held\n",
        "",
        FAULTS + "snapshots.py::test_a_change_during_a_snapshot",
    ),
    Mutant(
        "only a higher revision is taken",
        CACHE,
        "return held is None or revision > held.revision",
        "return True",
        FAULTS + "snapshots.py::test_entries_that_come_again_or_late_or_with_no_order",
    ),
    Mutant(
        "the last readable document is kept",
        CACHE,
        "self._last_good = last_good",
        "self._last_good = None",
        FAULTS + "snapshots.py::test_a_document_that_cannot_be_read",
    ),
    Mutant(
        "documents have a size limit",
        DOCUMENT,
        "if len(data) > MAX_BYTES:",
        "if False:",
        FAULTS + "snapshots.py::test_a_document_that_cannot_be_read[too large]",
    ),
    Mutant(
        "durations are measured by the monotonic clock",
        FEED,
        "import time\n",
        "import time as clock\n\n\nclass time:\n    monotonic = staticmethod(clock.time)\n\n\n",
        FAULTS + "clock.py::test_what_is_held_grows_stale_by_the_time_that_passes",
    ),
    Mutant(
        "reports are dated by Redis",
        FEED,
        "redis.eval(REPORT,",
        "redis.eval(REPORT.replace(\"redis.call('TIME')[1]\", str(__import__('time').time())),",
        FAULTS + "clock.py::test_a_process_with_a_wrong_clock_is_listed_and_hides_no_other",
    ),
    Mutant(
        "the file's checksum is compared",
        LAST_GOOD,
        "if head != _HEAD",
        "if False and head != _HEAD",
        "tests/client/test_last_known_good.py::test_a_file_of_no_use_is_no_reason_not_to_start",
    ),
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
    Mutant(
        "a connection to a master that was replaced is left",
        CONNECTION,
        "        is_there = True\n",
        "        return\n        is_there = True\n",
        FAULTS + "sentinel.py::test_a_master_wakes_that_does_not_know_of_its_successor",
    ),
    Mutant(
        "a fetch is of the epoch that is followed",
        FETCHER,
        "if await redis.get(EPOCH) == epoch == self._cache.epoch:",
        "if True:",
        CAPACITY + "a_fetch_from_an_earlier_epoch_is_not_taken",
    ),
    Mutant(
        "changes of tenants that are being fetched are taken",
        FETCHER,
        "                self._cache.awaited.update(batch)\n",
        "",
        CAPACITY + "a_change_during_a_fetch_is_not_lost",
    ),
    Mutant(
        "snapshots have the tenants that are being fetched",
        FEED,
        ", *self._cache.awaited)))",
        ")))",
        CAPACITY + "a_change_that_is_missed_during_a_fetch_is_not_lost",
    ),
    Mutant(
        "a tenant that was changed is not unknown any more",
        CACHE,
        "        self._unknown.pop(tenant, None)\n\n    def is_newer",
        "        pass\n\n    def is_newer",
        CAPACITY + "a_tenant_that_was_unknown_is_served_once_it_is_there",
    ),
    Mutant(
        "the platform's document is always held",
        CACHE,
        " or tenant in self.awaited or tenant == PLATFORM",
        " or tenant in self.awaited",
        CAPACITY + "the_platforms_policy_always_applies",
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
