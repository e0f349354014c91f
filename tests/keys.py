"""The keys of the default namespace."""

from __future__ import annotations

from corspolicy.sync.wire import Keys

KEYS = Keys()
DOCUMENTS = KEYS.documents
CHANGES = KEYS.changes
EPOCH = KEYS.epoch
PROCESSES = KEYS.processes
PROCESS_PREFIX = KEYS.report("")
