"""The policy service's mechanisms."""

from __future__ import annotations

from tests.mutants.mutant import FAULTS, Mutant

CONNECTION, LEAD, LEADER, SCRIPTS, STORE = (
    f"policy_service/publisher/{name}.py" for name in ("connection", "lead", "leader", "scripts", "store")
)
FLEET = "policy_service/fleet/store.py"
PROPAGATION = "policy_service/propagation/service.py"
DATABASE = "policy_service/database.py"
HISTORY, STREAM = "policy_service/history/store.py", "policy_service/history/stream.py"
BYTES, COMPACTION = (f"tests/service/test_{name}.py::test_" for name in ("bytes", "compaction"))
CONNECTIONS = "policy_service/http/connections.py"
SHARES = "tests/service/test_shares.py::test_"
CONTENTS, DATABASES, POOLED, RECEIPTS, RESTORES = (
    f"{FAULTS}service_{name}.py::test_"
    for name in ("redis_contents", "two_databases", "pgbouncer", "receipts", "restores")
)

SERVICE_MUTANTS = [
    Mutant(
        "a change is marked only when it is published",
        LEAD,
        "        await self._write(published, is_news=True)\n"
        "        await store.mark_published(self._connection, marked)\n",
        "        await store.mark_published(self._connection, marked)\n"
        "        await self._write(published, is_news=True)\n",
        FAULTS + "service.py::test_the_service_is_killed_between_commit_and_publish",
    ),
    Mutant(
        "Redis rejects a revision that is not higher",
        SCRIPTS,
        "if not held_revision or tonumber(held_revision) < tonumber(revision) then",
        "if true then",
        FAULTS + "service.py::test_the_service_is_killed_between_publish_and_mark",
    ),
    Mutant(
        "Redis rejects documents of an earlier leader, and those that follow on lost ones",
        SCRIPTS,
        '    + _SAME_TERM\n    + f"""\nif ARGV[3] ~= \'\' then\n  local lost = loss(ARGV[3], ARGV[4])\n'
        "  if lost then return redis.error_reply('LOST ' .. lost) end\nelseif field('writes') ~= ARGV[4] then\n",
        '    + f"""\nif false then\n',
        FAULTS + "service.py::test_a_leader_that_wakes_while_it_writes_everything_anew[documents]",
    ),
    Mutant(
        "Redis is not emptied by an earlier leader",
        SCRIPTS,
        "BEGIN_EPOCH = (\n    _COMMON\n    + _SAME_TERM\n",
        "BEGIN_EPOCH = (\n    _COMMON\n    + ''\n",
        FAULTS + "service.py::test_a_leader_that_wakes_while_it_writes_everything_anew[beginning]",
    ),
    Mutant(
        "Redis rejects the epoch of an earlier leader, and one that has lost writes since",
        SCRIPTS,
        "if held_term() ~= tonumber(ARGV[2]) or field('writes') ~= ARGV[4] then",
        "if false then",
        FAULTS + "redis.py::test_redis_is_emptied_again_before_everything_is_written_anew",
    ),
    Mutant(
        "the leader checks every second whether Redis has what was published",
        LEADER,
        "if time.monotonic() - checked_at >= CHECK_SECONDS:",
        "if False:",
        FAULTS + "redis.py::test_a_client_that_starts_after_redis_was_emptied_gets_everything",
    ),
    Mutant(
        "and whether it has as many changes as were published",
        LEAD,
        "if position < truth.position:",
        "if False:",
        FAULTS + "redis.py::test_redis_is_overwritten_with_an_older_copy_of_itself[service stopped]",
    ),
    Mutant(
        "and whether the documents are of that epoch",
        SCRIPTS,
        "~= epoch then return 'the documents are missing' end",
        "== '' then return 'the documents are missing' end",
        CONTENTS + "documents_that_are_lost_are_written_again[epoch]",
    ),
    Mutant(
        "and how many there are",
        SCRIPTS,
        "if redis.call('HLEN', DOCUMENTS) ~= number(field('documents')) then",
        "if false then",
        CONTENTS + "documents_that_are_lost_are_written_again[one]",
    ),
    Mutant(
        "a later document that is not of this database is no document",
        LEAD,
        "if rejected and not await store.are_superseded(self._connection, rejected):",
        "if False:",
        RECEIPTS + "a_forged_revision_is_not_taken_for_a_change_that_is_applied[documents]",
    ),
    Mutant(
        "what Redis knows and the database does not makes a new epoch",
        LEAD,
        "        loss = found.loss or await self._unknown(truth, found.position, found.revision, is_first=False)\n",
        "        loss = found.loss\n",
        RESTORES + "a_dump_is_restored_under_a_running_service",
    ),
    Mutant(
        "revisions are lifted above those that were given",
        STORE,
        "SELECT setval('revisions', :floor) FROM revisions WHERE last_value < :floor",
        "SELECT last_value FROM revisions WHERE last_value < :floor",
        RESTORES + "the_sequences_are_set_back",
    ),
    Mutant(
        "nothing is written to another database's Redis",
        SCRIPTS,
        "if owner and owner ~= ARGV[1] then",
        "if false then",
        DATABASES + "another_database_publishes_nothing_and_says_so_until_it_takes_over",
    ),
    Mutant(
        "a copy of a database is another one",
        STORE,
        "cluster_identifier() || '/' || current_database(), 'UTF8'",
        "'', 'UTF8'",
        DATABASES + "another_database_publishes_nothing_and_says_so_until_it_takes_over[copy]",
    ),
    Mutant(
        "a leader that was deposed does not fight back",
        LEADER,
        "                await self._wait_for_takeover(lead)\n",
        "",
        DATABASES + "two_physical_copies_do_not_fight",
    ),
    Mutant(
        "a frozen leader is replaced",
        LEADER,
        "            await end_frozen_leader(connection)\n",
        "",
        FAULTS + "service_publisher.py::test_a_frozen_leader_is_replaced",
    ),
    Mutant(
        "plans are made for the tables as they are",
        CONNECTION,
        "            **UNNAMED_STATEMENTS,\n",
        "",
        FAULTS + "service_publisher.py::test_marking_one_change_reads_few_rows_however_many_there_are",
    ),
    Mutant(
        "a pooler that mixes sessions is found before anything is locked through it",
        CONNECTION,
        "                return True\n",
        "                pass\n",
        POOLED + "without_a_direct_line_transaction_mode_is_named_with_its_remedy_and_no_lock_is_left_behind",
    ),
    Mutant(
        "through a pooler, no statement is prepared in one transaction and used in another",
        DATABASE,
        "        arguments |= UNNAMED_STATEMENTS\n",
        "        pass\n",
        POOLED + "everything_works_through_transaction_mode_with_a_direct_line_for_the_publisher",
    ),
    Mutant(
        "a register of processes that lost any is not whole",
        SCRIPTS,
        "or not redis.call('ZSCORE', PROCESSES, '{REGISTER_FIELD.decode()}') then",
        "then",
        RECEIPTS + "no_receipt_is_given_on_the_absence_of_a_report[_lose_the_register]",
    ),
    Mutant(
        "nor is one that processes could not reach for a while",
        SCRIPTS,
        "now() - seen > {AWAY_SECONDS} or not is_sound(PROCESSES)",
        "not is_sound(PROCESSES)",
        RECEIPTS + "no_receipt_is_given_on_the_absence_of_a_report[_stay_away]",
    ),
    Mutant(
        "a receipt waits until every process is known",
        PROPAGATION,
        "return self.is_published and self.all_known and not",
        "return self.is_published and not",
        RECEIPTS + "no_receipt_is_given_on_the_absence_of_a_report[_flush]",
    ),
    Mutant(
        "a process that holds something else has not applied a change",
        PROPAGATION,
        "            elif process.has_diverged:\n                standing.pending.append(process)\n",
        "",
        RECEIPTS + "a_forged_revision_is_not_taken_for_a_change_that_is_applied[stream]",
    ),
    Mutant(
        "what is sent is counted before it is checked",
        "policy_service/policies/service.py",
        "        count_policy(request.caller.limits, service, body, old)\n",
        "",
        "tests/service/test_limits.py::test_what_is_sent_is_counted_before_it_is_checked",
    ),
    Mutant(
        "a check costs its key what it takes",
        "policy_service/auth/checks.py",
        "self._requests.take(key, sum(used) / SECONDS_PER_TOKEN)",
        "pass",
        "tests/service/test_checks.py::test_a_check_costs_what_it_takes_also_if_it_finds_a_problem",
    ),
    Mutant(
        "a cursor beyond the end of the stream proves nothing",
        "policy_service/fleet/poller.py",
        "return self.is_foreign or (",
        "return (",
        "tests/service/test_propagation.py::test_a_cursor_beyond_the_end_of_the_stream_proves_nothing",
    ),
    Mutant(
        "nothing is complete while a process follows that does not report",
        PROPAGATION,
        "self.all_known and not self.not_reporting and",
        "self.all_known and",
        "tests/service/test_propagation.py::test_nothing_is_complete_while_a_process_follows_that_does_not_report",
    ),
    Mutant(
        "a receipt waits for every process: the random run finds out",
        PROPAGATION,
        "and not self.not_reporting and not self.pending",
        "",
        FAULTS + "random.py::test_random_writes_and_faults",
    ),
    Mutant(
        "every replica tells the leader's problems",
        "policy_service/health/routes.py",
        "if not publisher.is_leading:",
        "if False:",
        DATABASES + "another_database_publishes_nothing_and_says_so_until_it_takes_over[new]",
    ),
    Mutant(
        "connections to PostgreSQL are tried before they are used",
        DATABASE,
        "pool_pre_ping=True",
        "pool_pre_ping=False",
        FAULTS + "service.py::test_every_connection_to_postgres_is_ended",
    ),
    Mutant(
        "a tenant's current document is never removed from the history",
        HISTORY,
        "documents.c.revision.is_distinct_from(current), ",
        "",
        COMPACTION + "the_newest_documents_stay_as_many_as_bytes_are_set_and_the_current_and_the_unpublished_always",
    ),
    Mutant(
        "nor one that is not yet published",
        HISTORY,
        ", documents.c.revision.not_in(unpublished)",
        "",
        COMPACTION + "the_newest_documents_stay_as_many_as_bytes_are_set_and_the_current_and_the_unpublished_always",
    ),
    Mutant(
        "the age of a document counts from when another replaced it",
        HISTORY,
        "func.lag(Change.created_at).over(order_by=newest_first)",
        "Change.created_at",
        COMPACTION + "documents_go_when_another_has_replaced_them_for_as_long_as_set",
    ),
    Mutant(
        "a page of the history ends by bytes",
        HISTORY,
        "first_within(PAGE_BYTES, found[:limit], _size)",
        "found[:limit]",
        BYTES + "a_page_of_the_history_ends_by_bytes_and_the_next_goes_on",
    ),
    Mutant(
        "a stream that nobody reads holds little",
        STREAM,
        "BATCH_BYTES = 256 * 1024",
        "BATCH_BYTES = 2**40",
        BYTES + "streams_that_nobody_reads_hold_little",
    ),
    Mutant(
        "the publisher reads so many bytes at once, uncompressed",
        STORE,
        "first_within(BATCH_BYTES, rows, lambda row: row.document_bytes or 0)",
        "rows",
        FAULTS + "service_sizes.py::test_a_batch_holds_so_many_bytes_and_at_least_one_document",
    ),
    Mutant(
        "a tenant's expired entries are removed together",
        STORE,
        "Tenant.next_expiry <= func.now() - delay",
        "Tenant.next_expiry <= func.now()",
        "tests/service/test_expiry.py::test_of_a_tenant_what_has_expired_is_removed_together_and_not_before_the_first_"
        "is_old_enough",
    ),
    Mutant(
        "writes of a tenant wait for each other without a connection",
        "policy_service/propagation/writes.py",
        "async with self.shares.write(tenant, caller.actor) if tenant is not None and is_allowed else nullcontext():",
        "async with nullcontext():",
        SHARES + "writes_of_a_tenant_wait_for_each_other_without_a_connection",
    ),
    Mutant(
        "requests of a key use a share of the connections",
        "policy_service/http/dependencies.py",
        "return sessions.within(partial(shares.connections.turn, caller.actor))",
        "return sessions",
        SHARES + "a_key_uses_its_share_of_the_connections_and_has_so_many_requests_in_progress",
    ),
    Mutant(
        "few keys are looked up at a time",
        "policy_service/auth/authentication.py",
        "async with self._lookups.turn(name), self._sessions() as session:",
        "async with self._sessions() as session:",
        SHARES + "looking_up_keys_takes_few_connections",
    ),
    Mutant(
        "names take turns",
        "policy_service/auth/shares.py",
        "            self._waiting.move_to_end(name)\n",
        "",
        "tests/service/test_turns.py::test_the_many_of_one_name_do_not_delay_the_one_of_another",
    ),
    Mutant(
        "a turn that comes to a request as it goes away is given on",
        "policy_service/auth/shares.py",
        "                # Its turn came while it gave up.\n                self._end(name)\n",
        "                pass\n",
        "tests/service/test_turns.py::test_nothing_is_lost_with_those_who_go_away",
    ),
    Mutant(
        "a client has a deadline for the head of a request",
        CONNECTIONS,
        "self._timer = self.loop.call_later(seconds, self._drop)",
        "self._timer = self.loop.call_later(86_400, self._drop)",
        "tests/service/test_connections.py::test_a_client_that_keeps_the_service_waiting_is_dropped",
    ),
    Mutant(
        "a head is bounded in bytes",
        CONNECTIONS,
        "if self._head_bytes > MAX_HEAD_BYTES:",
        "if False:",
        "tests/service/test_connections.py::test_a_client_that_sends_without_end_is_dropped",
    ),
    Mutant(
        "the keys that are looked at are those that were watched before",
        "policy_service/auth/key_watch.py",
        "        for key_id in watched:\n",
        "        for key_id in list(self._callbacks):\n",
        "tests/service/test_key_end.py::test_a_stream_that_is_opened_while_the_keys_are_looked_at_goes_on",
    ),
    Mutant(
        "the index of allowed patterns loses what a document loses",
        "policy_service/changes/index.py",
        "WHERE known.pattern = gone.pattern AND",
        "WHERE false AND known.pattern = gone.pattern AND",
        "tests/service/test_allowed_origins.py::test_the_index_follows_every_write",
    ),
    Mutant(
        "who allows an origin is found where `*` is a part of a label",
        "policy_service/origins/candidates.py",
        "range(MIN_FIXED_CHARACTERS, len(label))",
        "()",
        "tests/service/test_allowed_origins.py::test_the_patterns_looked_up_are_those_by_which_the_core_allows",
    ),
    Mutant(
        "removing an origin everywhere overwrites no other change",
        "policy_service/cli/commands/origins_everywhere.py",
        'api.call("PUT", path, document, revision=revision, options=options)',
        'api.call("PUT", path, document, revision="*", options=options)',
        "tests/cli/test_origins_everywhere.py::test_a_change_between_reading_and_writing_is_not_lost",
    ),
]
