"""The client's mechanisms."""

from __future__ import annotations

from tests.mutants.mutant import CLIENT, FAULTS, Mutant

CACHE, CHANGES, DOCUMENTS, FEED, FETCHER, KEEPER, LAST_KNOWN_GOOD, PACE, REPLICA, REPORTER, SNAPSHOT = (
    f"client/src/corspolicy/sync/{name}.py"
    for name in (
        "cache", "changes", "documents", "feed", "fetcher", "keeper", "last_known_good", "pace",
        "replica", "reporter", "snapshot",
    )
)  # fmt: skip
NAMES, SEARCH = "client/src/corspolicy/sync/names.py", "client/src/corspolicy/sync/search.py"
LOGS = "client/src/corspolicy/sync/logs.py"
DOCUMENT = "client/src/corspolicy/core/document.py"
CAPACITY = CLIENT + "capacity.py::test_"
FETCHING = CLIENT + "fetching.py::test_"
FILE = CLIENT + "last_known_good.py::test_"
KEEPING = CLIENT + "keeper.py::test_"
STALE = CLIENT + "max_stale.py::test_"
STARTS = CLIENT + "starts.py::test_"

CLIENT_MUTANTS = [
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
        "            await self._follow(redis, None, snapshot)\n",
        "            self._changes.cursor = await self._last_id(redis)\n",
        FAULTS + "snapshots.py::test_a_change_during_a_snapshot",
    ),
    Mutant(
        "each entry names the one before it",
        CHANGES,
        "entry.previous != self.cursor or",
        "False or",
        FAULTS + "snapshots.py::test_the_stream_is_cut_past_the_cursor_of_a_client_that_is_away[1]",
    ),
    Mutant(
        "where nothing comes, the stream's last id is compared",
        FEED,
        "elif await self._last_id(redis) == self.cursor:",
        "elif True:",
        FAULTS + "snapshots.py::test_the_stream_is_cut_past_the_cursor_of_a_client_that_is_away[0]",
    ),
    Mutant(
        "the epoch is compared after a snapshot",
        FEED,
        "if await self._read_epoch(redis) != epoch:",
        "if False:",
        FAULTS + "snapshots.py::test_redis_is_emptied_during_a_snapshot",
    ),
    Mutant(
        "a snapshot is whole only with its epoch in the hash",
        FEED,
        "is_whole = inside is not None and inside == outside",
        "inside = outside\n        is_whole = inside is not None",
        STARTS + "documents_without_their_epoch_are_no_snapshot[documents]",
    ),
    Mutant(
        "what comes during a snapshot goes into it as well",
        CHANGES,
        "        if snapshot is not None and is_news:\n            snapshot.documents.put(tenant, cached)\n",
        "",
        FAULTS + "snapshots.py::test_a_change_during_a_snapshot",
    ),
    Mutant(
        "only a higher revision is taken",
        CACHE,
        "return known is None or revision > known",
        "return True",
        CLIENT + "feed.py::test_repeated_and_reordered_entries_change_nothing",
    ),
    Mutant(
        "a deletion is remembered",
        DOCUMENTS,
        "return self.deleted.get(tenant) if cached is None else cached.revision",
        "return None if cached is None else cached.revision",
        CAPACITY + "deleted_tenants_take_no_place",
    ),
    Mutant(
        "deletions take no place",
        SNAPSHOT,
        "count = len(self.documents) - (PLATFORM in self.documents)",
        "count = seen - 1",
        CAPACITY + "deleted_tenants_take_no_place",
    ),
    Mutant(
        "a new epoch is the truth, whatever is cached",
        FEED,
        "trusts_cache = epoch == self._cache.epoch and not must_resync",
        "trusts_cache = True",
        CLIENT + "restored.py::test_a_new_epoch_is_followed_whatever_revisions_are_held",
    ),
    Mutant(
        "a process that holds something else takes a new snapshot when it is asked to",
        REPORTER,
        "return bool(await ask(redis.eval(REPORT, len(names), *names, *values)))",
        "await ask(redis.eval(REPORT, len(names), *names, *values))\n                return False",
        CLIENT + "restored.py::test_a_process_that_holds_something_else_takes_a_new_snapshot_when_it_is_asked_to",
    ),
    Mutant(
        "a large document that is lost is a gap",
        CHANGES,
        "            # The hash has lost what the stream tells of.\n            self.gaps += 1\n",
        "",
        CLIENT + "restored.py::test_a_large_document_that_the_hash_has_lost_is_not_said_to_be_applied[nothing]",
    ),
    Mutant(
        "a large document that is older than was announced is a gap",
        CHANGES,
        "self.gaps += revision < int(entry.revision or 0)",
        "pass",
        CLIENT + "restored.py::test_a_large_document_that_the_hash_has_lost_is_not_said_to_be_applied[an older one]",
    ),
    Mutant(
        "the last readable document is kept",
        DOCUMENTS,
        "self._last_readable = last_readable",
        "self._last_readable = None",
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
        REPORTER,
        "redis.eval(REPORT,",
        "redis.eval(REPORT.replace(\"redis.call('TIME')[1]\", str(__import__('time').time())),",
        FAULTS + "clock.py::test_a_process_with_a_wrong_clock_is_listed_and_hides_no_other",
    ),
    Mutant(
        "where scripts are not allowed, reports go by plain commands",
        REPORTER,
        '            except ResponseError as error:\n                logger.debug("reporting by',
        '            except NotImplementedError as error:\n                logger.debug("reporting by',
        CLIENT + "rights.py::test_a_user_with_no_more_rights_than_needed_follows_and_reports",
    ),
    Mutant(
        "a process reports before its first snapshot",
        FEED,
        "            # Known before it serves: a write meanwhile waits for this process.\n"
        "            await self._send_report(redis)\n",
        "            pass\n",
        FAULTS + "client_receipts.py::test_a_process_that_starts_during_a_removal_is_waited_for",
    ),
    Mutant(
        "a process reports while it reads a snapshot",
        FEED,
        "                asked_at = self._asked_at\n            if self._reporter.is_due:\n",
        "                asked_at = self._asked_at\n            if False:\n",
        STARTS + "a_snapshot_that_is_coming_in_is_waited_for_beyond_the_start_up_timeout_and_reported_all_the_while",
    ),
    Mutant(
        "a process that stops signs off",
        REPLICA,
        "        if self._reporter.is_known:\n",
        "        if False:\n",
        CLIENT + "processes.py::test_a_process_that_is_asked_to_end_is_forgotten_at_once_and_one_that_is_killed_is_not",
    ),
    Mutant(
        "a start waits while a snapshot is coming in",
        FEED,
        "                self.progressed_at = time.monotonic()\n                self._wake()\n",
        "                pass\n",
        STARTS + "a_snapshot_that_is_coming_in_is_waited_for_beyond_the_start_up_timeout_and_reported_all_the_while",
    ),
    Mutant(
        "pages are as large as the line is quick",
        PACE,
        '    def took(self, seconds: float) -> None:\n        """Note how long a full page took."""\n',
        '    def took(self, seconds: float) -> None:\n        """Note how long a full page took."""\n'
        "        self.page = MAX_PAGE\n        return\n",
        STARTS + "large_documents_come_over_a_slow_line_in_smaller_pages",
    ),
    Mutant(
        "what is current is what was when Redis was asked",
        FEED,
        "            self._confirm(asked_at)\n        self.notify()\n",
        "            self._confirm(time.monotonic())\n        self.notify()\n",
        CLIENT + "processes.py::test_after_a_pause_no_request_is_allowed_by_policies_that_are_too_old",
    ),
    Mutant(
        "what is current is what has read all that there is",
        FEED,
        "        if self._changes.is_at_end:\n            self._confirm(asked_at)\n",
        "        self._confirm(asked_at)\n",
        STALE + "policies_that_have_not_caught_up_are_still_too_old",
    ),
    Mutant(
        "each request looks whether the policies are too old",
        CACHE,
        "return STALE if monotonic() > self._cache.stale_at else _get(self, tenant, default)",
        "return _get(self, tenant, default)",
        CLIENT + "processes.py::test_after_a_pause_no_request_is_allowed_by_policies_that_are_too_old",
    ),
    Mutant(
        "the file's checksum is compared",
        LAST_KNOWN_GOOD,
        "if not lines or version != ",
        "if not lines or False and version != ",
        FILE + "a_file_of_no_use_is_no_reason_not_to_start",
    ),
    Mutant(
        "the file is written only once there is a snapshot",
        KEEPER,
        "if not feed.connected or feed.epoch is None or age is None or age > CONFIRM_SECONDS:",
        "if not feed.connected:",
        KEEPING + "a_starting_process_does_not_overwrite_the_file_before_it_has_a_snapshot",
    ),
    Mutant(
        "what has been written already, or is older, is not written",
        KEEPER,
        "if found is not None and found.covers(head):",
        "if False:",
        KEEPING + "a_process_that_is_behind_does_not_overwrite_what_another_has_written",
    ),
    Mutant(
        "the file is written a last time at the stop",
        REPLICA,
        "if self._keeper is not None and must_save:",
        "if False and self._keeper is not None and must_save:",
        KEEPING + "each_change_reaches_the_file_soon_and_the_last_one_with_the_stop",
    ),
    Mutant(
        "a file whose time is still to come is of unknown age",
        LAST_KNOWN_GOOD,
        "None if age < -CLOCK_SKEW_SECONDS else max(age, 0.0)",
        "max(age, 0.0)",
        STALE + "a_clock_that_was_set_back_does_not_make_a_file_young",
    ),
    Mutant(
        "a file of another namespace or database is ignored",
        KEEPER,
        "        if why is not None:\n",
        "        if False:\n",
        FILE + "a_file_of_another_namespace_or_database_is_ignored",
    ),
    Mutant(
        "the file of a process over its capacity does not say to be complete",
        KEEPER,
        "is_complete=found.head.complete",
        "is_complete=True",
        KEEPING + "a_file_of_a_process_with_more_tenants_than_fit_is_not_all_there_is",
    ),
    Mutant(
        "what the client logs is printable",
        LOGS,
        "logger.addFilter(PrintableFilter())",
        "",
        CLIENT + "foreign_values.py::test_names_documents_epochs_and_reports_of_others_are_logged_plain",
    ),
    Mutant(
        "without asyncio the start of an application fails",
        "client/src/corspolicy/middleware.py",
        '                await send({"type": "lifespan.startup.failed", "message": str(error)})\n',
        "",
        STARTS + "without_asyncio_the_start_of_an_application_fails_and_requests_are_denied_without_a_word",
    ),
    Mutant(
        "a connection to a master that was replaced is left",
        SEARCH,
        "            if (connection.host, connection.port) != found:\n",
        "            if False:\n",
        FAULTS + "sentinel.py::test_a_master_wakes_that_does_not_know_of_its_successor",
    ),
    Mutant(
        "all connections of a process share one to each Sentinel",
        FEED,
        "self._connect = connector(redis_url, keys, single_connection_client=True)",
        "self._connect = lambda: connector(redis_url, keys, single_connection_client=True)()",
        CLIENT + "connection.py::test_a_process_has_one_connection_to_each_sentinel_over_a_failover",
    ),
    Mutant(
        "a fetch is of the epoch that is followed",
        FETCHER,
        "if epoch is not None and read_epoch(inside) == epoch == self._cache.epoch:",
        "if True:",
        FETCHING + "a_fetch_from_an_earlier_epoch_is_not_taken",
    ),
    Mutant(
        "a fetch that fails is tried once more over a fresh connection",
        FETCHER,
        "                await self._close()\n        self._redis = self._connect()\n",
        "                await self._close()\n                raise\n        self._redis = self._connect()\n",
        FETCHING + "an_idle_connection_that_was_dropped_denies_nobody",
    ),
    Mutant(
        "a connection that was left idle is not waited for as long as a fresh one",
        FETCHER,
        "patience = min(PATIENCE_SECONDS + PATIENCE * self._took, SILENCE_SECONDS)",
        "patience = SILENCE_SECONDS",
        FETCHING + "an_idle_connection_that_was_dropped_denies_nobody[silently]",
    ),
    Mutant(
        "tenants that are known have a queue of their own",
        FETCHER,
        "await (self._known if self._cache.is_known(tenant) else self._others).fetch(tenant)",
        "await self._others.fetch(tenant)",
        FETCHING + "a_flood_of_random_names_neither_delays_nor_evicts_who_is_known",
    ),
    Mutant(
        "a tenant that was evicted is known",
        CACHE,
        "            self._documents.evict(tenant)\n            self._known.add(tenant)\n",
        "            self._documents.evict(tenant)\n",
        FETCHING + "a_flood_of_random_names_neither_delays_nor_evicts_who_is_known",
    ),
    Mutant(
        "names of tenants take a bounded number of bytes",
        NAMES,
        "while self._free < 0:",
        "while False:",
        FETCHING + "names_are_remembered_within_a_number_of_bytes",
    ),
    Mutant(
        "changes of tenants that are being fetched are taken",
        CACHE,
        "return self.is_complete or tenant in self._documents or tenant in self._awaited or tenant == PLATFORM",
        "return self.is_complete or tenant in self._documents or tenant == PLATFORM",
        FETCHING + "a_change_during_a_fetch_is_not_lost",
    ),
    Mutant(
        "tenants that are being fetched are not evicted",
        CACHE,
        "if tenant == PLATFORM or tenant in self._awaited:",
        "if tenant == PLATFORM:",
        FETCHING + "a_tenant_that_is_awaited_is_not_evicted",
    ),
    Mutant(
        "snapshots have the tenants that are being fetched",
        SNAPSHOT,
        ", *self._cache.awaited)))",
        ")))",
        FETCHING + "a_change_that_is_missed_during_a_fetch_is_not_lost",
    ),
    Mutant(
        "a tenant that was changed is not unknown any more",
        CACHE,
        "        self._unknown.discard(tenant)\n        self._known.add(tenant)\n",
        "        pass\n",
        CAPACITY + "a_tenant_that_was_unknown_is_served_once_it_is_there",
    ),
    Mutant(
        "the platform's document is always cached",
        CACHE,
        " or tenant in self._awaited or tenant == PLATFORM\n",
        " or tenant in self._awaited\n",
        CAPACITY + "the_platforms_policy_always_applies",
    ),
]
