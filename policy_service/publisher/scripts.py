"""What the publisher does in Redis, as scripts: each sees and writes everything at one moment, or nothing.

Every script first asks whose this Redis is. It writes nothing where another database publishes, and takes nothing from
a leader whose term is over. Whatever is not of the form that the publisher gives it counts as missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from corspolicy.sync.wire import DATABASE_FIELD, EPOCH_FIELD, INLINE_BYTES, REVISION_FIELD, STATE_FIELD, Keys

REGISTER_FIELD = b":register"
"""The member of `processes` that shows that no id was lost since it was put there."""
AWAY_SECONDS = 5
"""The leader marks every second that Redis is there. A longer gap means that reports may have been lost."""

# KEYS: term, identity, documents, changes, epoch, processes. ARGV: the database's identity, the term, then a script's
# own.
_COMMON = f"""
local TERM, IDENTITY, DOCUMENTS, CHANGES, EPOCH, PROCESSES = unpack(KEYS)
local TYPES = {{
  [TERM] = 'string', [IDENTITY] = 'hash', [DOCUMENTS] = 'hash', [CHANGES] = 'stream', [EPOCH] = 'string',
  [PROCESSES] = 'zset'
}}
local function is_sound(key)
  local found = redis.call('TYPE', key)['ok']
  return found == TYPES[key] or found == 'none'
end
local function field(name) return is_sound(IDENTITY) and redis.call('HGET', IDENTITY, name) or false end
local function number(text) return text and #text <= 15 and string.match(text, '^%d+$') and tonumber(text) or 0 end
local function now() local time = redis.call('TIME') return time[1] + time[2] / 1e6 end
-- More digits than a term or revision will ever have: nobody counts on from there.
local function held_term()
  local text = is_sound(TERM) and redis.call('GET', TERM)
  return text and #text <= 12 and number(text) or 0
end
local function last_id()
  if redis.call('EXISTS', CHANGES) == 0 then return '0-0' end
  local found = redis.call('XINFO', 'STREAM', CHANGES)
  for i = 1, #found, 2 do if found[i] == 'last-generated-id' then return found[i + 1] end end
end
local function previous_id()
  local newest = redis.call('XREVRANGE', CHANGES, '+', '-', 'COUNT', 1)
  return newest[1] and newest[1][1] or '0-0'
end
local function append(length, ...)
  redis.call('XADD', CHANGES, 'MAXLEN', '~', length, '*', 'previous', previous_id(), ...)
end
local function sign(state)
  if state ~= '' then redis.call('HSET', IDENTITY, '{STATE_FIELD.decode()}', state) end
end
local function count()
  redis.call('HSET', IDENTITY, 'documents', redis.call('HLEN', DOCUMENTS))
end
-- Why not what was published last is there, if it is not.
local function loss(epoch, writes)
  for key in pairs(TYPES) do
    if not is_sound(key) then return key .. ' is a ' .. redis.call('TYPE', key)['ok'] end
  end
  if redis.call('GET', EPOCH) ~= epoch then return 'the epoch is missing or another one' end
  if redis.call('HGET', DOCUMENTS, '{EPOCH_FIELD.decode()}') ~= epoch then return 'the documents are missing' end
  if redis.call('HLEN', DOCUMENTS) ~= number(field('documents')) then return 'some documents are missing' end
  if writes ~= '' and field('writes') ~= writes then return 'the last writes are missing' end
end
-- Mark that Redis was there. Unless it was so all the time, ids of processes may have been lost: the register of
-- processes is whole since now, or since ever where nothing was published before.
local function mark_seen(was_away, is_first)
  local seen = tonumber(field('seen') or '')
  if was_away == '1' or not seen or now() - seen > {AWAY_SECONDS} or not is_sound(PROCESSES)
      or not redis.call('ZSCORE', PROCESSES, '{REGISTER_FIELD.decode()}') then
    if not is_sound(PROCESSES) then redis.call('DEL', PROCESSES) end
    redis.call('ZADD', PROCESSES, '1e15', '{REGISTER_FIELD.decode()}')
    redis.call('HSET', IDENTITY, 'register_since', is_first == '1' and 0 or now())
  end
  redis.call('HSET', IDENTITY, 'seen', now())
end
local owner = field('{DATABASE_FIELD.decode()}')
if owner and owner ~= ARGV[1] then
  return redis.error_reply('OTHERDATABASE ' .. string.sub(string.gsub(owner, '[^%w:_-]', '?'), 1, 64))
end
"""
_SAME_TERM = """
if held_term() > tonumber(ARGV[2]) then
  return redis.error_reply('LATERTERM ' .. string.format('%d', held_term()))
end
"""

_CLAIM = (
    _COMMON
    + f"""
local found = held_term()
if found < tonumber(ARGV[2]) then redis.call('SET', TERM, ARGV[2]) end
return {{
  found, number(field('{REVISION_FIELD.decode()}')), number(field('position')), field('writes') or '',
  field('{STATE_FIELD.decode()}') or ''
}}
"""
)

# ARGV: epoch, writes, whether Redis was out of reach, signed state. Answers what is lost, and position and revision.
_CHECK = (
    _COMMON
    + _SAME_TERM
    + f"""
local lost = loss(ARGV[3], ARGV[4])
if lost then return {{lost, 0, 0}} end
mark_seen(ARGV[5], '0')
sign(ARGV[6])
return {{'', number(field('position')), number(field('{REVISION_FIELD.decode()}'))}}
"""
)

# ARGV: epoch (none: everything is being written again), writes before this one, position and highest revision after
# it, stream length (0: do not announce), signed state after it (none: it is not signed), then tenant and envelope in
# turn. The last entry carries the state. Answers tenant and revision of what is held at a higher revision, in turn. An
# entry is appended before its document is written: it is what may fail.
WRITE = (
    _COMMON
    + _SAME_TERM
    + f"""
if ARGV[3] ~= '' then
  local lost = loss(ARGV[3], ARGV[4])
  if lost then return redis.error_reply('LOST ' .. lost) end
elseif field('writes') ~= ARGV[4] then
  return redis.error_reply('LOST the last writes are missing')
end
local rejected, written = {{}}, {{}}
for i = 9, #ARGV, 2 do
  local held = redis.call('HGET', DOCUMENTS, ARGV[i])
  local held_revision = held and string.match(held, '^%d+')
  if held_revision and #held_revision > 18 then held_revision = nil end
  local revision = string.match(ARGV[i + 1], '^%d+')
  if not held_revision or tonumber(held_revision) < tonumber(revision) then
    written[#written + 1] = i
  elseif tonumber(held_revision) > tonumber(revision) then
    rejected[#rejected + 1] = ARGV[i]
    rejected[#rejected + 1] = held_revision
  end
end
for n, i in ipairs(written) do
  local tenant, envelope = ARGV[i], ARGV[i + 1]
  if ARGV[7] ~= '0' then
    local entry = {{'tenant', tenant}}
    if #envelope <= {INLINE_BYTES} then
      entry[3], entry[4] = 'envelope', envelope
    else
      entry[3], entry[4] = 'revision', string.match(envelope, '^%d+')
    end
    if n == #written and ARGV[8] ~= '' then entry[5], entry[6] = '{STATE_FIELD.decode()}', ARGV[8] end
    append(ARGV[7], unpack(entry))
  end
  redis.call('HSET', DOCUMENTS, tenant, envelope)
end
sign(ARGV[8])
local highest = math.max(number(field('{REVISION_FIELD.decode()}')), number(ARGV[6]))
redis.call('HSET', IDENTITY, 'position', ARGV[5], '{REVISION_FIELD.decode()}', string.format('%d', highest))
redis.call('HINCRBY', IDENTITY, 'writes', 1)
count()
return rejected
"""
)

# ARGV: whether this is the database's first epoch. Without an epoch, clients keep what
# they hold.
BEGIN_EPOCH = (
    _COMMON
    + _SAME_TERM
    + f"""
for key in pairs(TYPES) do
  if not is_sound(key) then redis.call('DEL', key) end
end
if string.match(last_id(), '^18446744073709551615') then redis.call('DEL', CHANGES) end
redis.call('SET', TERM, ARGV[2])
redis.call('DEL', EPOCH)
redis.call('UNLINK', DOCUMENTS)
redis.call('HSET', IDENTITY, '{DATABASE_FIELD.decode()}', ARGV[1], 'writes', 0, 'position', 0,
  '{REVISION_FIELD.decode()}', 0, 'documents', 0)
mark_seen('1', ARGV[3])
return redis.status_reply('OK')
"""
)

# ARGV: epoch, writes since it was begun, position, highest revision, stream length, signed state. The writes are all
# there, or Redis was emptied or set back.
END_EPOCH = (
    _COMMON
    + f"""
if held_term() ~= tonumber(ARGV[2]) or field('writes') ~= ARGV[4] then
  return redis.error_reply('LOST something of the epoch that is being written')
end
append(ARGV[7], 'epoch', ARGV[3])
redis.call('HSET', DOCUMENTS, '{EPOCH_FIELD.decode()}', ARGV[3])
redis.call('SET', EPOCH, ARGV[3])
sign(ARGV[8])
local highest = math.max(number(field('{REVISION_FIELD.decode()}')), number(ARGV[6]))
redis.call('HSET', IDENTITY, 'position', ARGV[5], '{REVISION_FIELD.decode()}', string.format('%d', highest))
mark_seen('0', '0')
count()
return redis.status_reply('OK')
"""
)


class OtherDatabase(Exception):
    """Redis holds what another database publishes."""

    def __init__(self, owner: str, namespace: str) -> None:
        super().__init__(
            f"Redis holds the policies of another database ({owner!r}) in the namespace {namespace}: nothing is "
            "published. Set CORSPOLICY_REDIS_URL or CORSPOLICY_NAMESPACE to one of its own, or replace what is there "
            "with `corspolicy takeover`, as after moving the database."
        )


class LaterTerm(Exception):
    """Another leader has claimed a higher term."""

    def __init__(self, term: int) -> None:
        super().__init__(f"a leader with the later term {term} publishes to this Redis")


class Lost(Exception):
    """Redis no longer has, or never had, what was written to it: everything is to be written again."""


class Claim(NamedTuple):
    """What a new leader finds in Redis; zero where there is nothing."""

    term: int
    revision: int
    position: int
    writes: str
    state: bytes


class Found(NamedTuple):
    """What a check found: why Redis is not what was published, or no reason, and how far it has come."""

    loss: str
    position: int
    revision: int


class Scripts:
    """The scripts, run for one database and one term at a time."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._keys = keys
        self._names = [keys.term, keys.identity, keys.documents, keys.changes, keys.epoch, keys.processes]
        self._claim = redis.register_script(_CLAIM)
        self._check = redis.register_script(_CHECK)
        self._write = redis.register_script(WRITE)
        self._begin_epoch = redis.register_script(BEGIN_EPOCH)
        self._end_epoch = redis.register_script(END_EPOCH)
        self.database = ""
        """The identity of the database that publishes."""
        self.term = 0

    async def claim(self) -> Claim:
        """Claim the term, unless a later one was claimed; what stands in Redis."""
        term, revision, position, writes, state = await self._run(self._claim)
        return Claim(term, revision, position, writes.decode("utf-8", "replace"), state)

    async def check(self, epoch: str, writes: str, *, was_away: bool, state: bytes = b"") -> Found:
        """Compare Redis with what was published as `epoch`, and mark that it was there now.

        Where it is, and `state` is given, that becomes the signed state.
        """
        loss, position, revision = await self._run(self._check, epoch, writes, int(was_away), state)
        return Found(loss.decode("utf-8", "replace"), position, revision)

    async def write(
        self,
        epoch: str,
        writes: int,
        position: int,
        revision: int,
        length: int,
        state: bytes,
        envelopes: Sequence[tuple[str, bytes]],
    ) -> dict[str, int]:
        """Write documents, and announce them unless `length` is 0; what is held of tenants, where that is later."""
        parts = [part for envelope in envelopes for part in envelope]
        rejected = await self._run(self._write, epoch, writes, position, revision, length, state, *parts)
        return {tenant.decode(): int(held) for tenant, held in zip(rejected[::2], rejected[1::2], strict=True)}

    async def begin_epoch(self, *, is_first: bool) -> None:
        """Remove the epoch and all documents."""
        await self._run(self._begin_epoch, int(is_first))

    async def end_epoch(self, epoch: str, writes: int, position: int, revision: int, length: int, state: bytes) -> None:
        """Name what was written since the beginning as complete."""
        await self._run(self._end_epoch, epoch, writes, position, revision, length, state)

    async def _run(self, script: Any, *values: Any) -> Any:
        try:
            return await script(keys=self._names, args=[self.database, self.term, *values])
        except ResponseError as error:
            kind, _, rest = str(error).partition(" ")
            if kind == "OTHERDATABASE":
                raise OtherDatabase(rest, self._keys.namespace) from None
            if kind == "LATERTERM":
                raise LaterTerm(int(rest)) from None
            if kind == "LOST":
                raise Lost(rest) from None
            if "WRONGTYPE" in str(error) or "exhausted the last possible ID" in str(error):
                raise Lost(str(error)) from error
            raise
