"""Tells who a key belongs to, and keeps each caller to its share."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal

from policy_service.auth import store
from policy_service.auth.callers import EVERYTHING, Caller, Role, Scope
from policy_service.auth.rate_limits import MAX_NAMES, RateLimit
from policy_service.auth.shares import Turns
from policy_service.auth.tokens import KeyText, MalformedKey, hash_key, matches, parse_key
from policy_service.database import Sessions
from policy_service.documents.quotas import Limits
from policy_service.errors import Problem
from policy_service.models import ApiKey
from policy_service.settings import Settings

USE_INTERVAL = timedelta(minutes=1)
RETRY_SECONDS = 5.0
TOO_MANY_REQUESTS = "Too many requests with this key, or too expensive ones."
_NO_DIGEST = "0" * 64

logger = logging.getLogger(__name__)


class Authenticator:
    """Checks keys. `run` it as a task: it notes when keys were last used, away from the requests that use them."""

    def __init__(self, sessions: Sessions, settings: Settings, requests: RateLimit, lookups: Turns) -> None:
        """`requests`: the bucket of each key; `lookups`: whose turn it is to ask the database."""
        self._sessions = sessions
        self._lookups = lookups
        # The ids of keys that were valid lately.
        self._known: OrderedDict[str, None] = OrderedDict()
        self._pepper = settings.key_pepper
        self._limits = Limits(
            settings.max_policies_per_tenant,
            settings.max_entries_per_policy,
            settings.max_document_bytes,
            settings.max_names_per_list,
        )
        self._requests = requests
        per_minute = settings.failed_authentications_per_minute
        self._malformed = RateLimit(per_minute / 60, per_minute)
        self._used: set[str] = set()
        self._is_used = asyncio.Event()

    async def authenticate(self, text: str | None, host: str) -> Caller:
        """The caller that sent `text` from `host`. Raises Problem: 401 without a valid key, 429 for too much."""
        if text is None:
            raise _unauthorized("Send `Authorization: Bearer <key>` with a valid API key.")
        address = _network(host)
        sent = self._parse(text, address)
        # Before the database is asked. Only who has the key takes tokens: nobody empties another's bucket.
        _require_token(self._requests, sent.id, TOO_MANY_REQUESTS)
        key = await self._find(sent, address)
        # Again: others of its requests were being looked up meanwhile.
        _require_token(self._requests, key.id, TOO_MANY_REQUESTS)
        self._requests.take(key.id)
        if key.last_used_at is None or datetime.now(UTC) - key.last_used_at > USE_INTERVAL:
            self._used.add(key.id)
            self._is_used.set()
        scope = EVERYTHING if key.tenants is None else Scope(frozenset(key.tenants))
        return Caller(f"key:{key.id}", Role(key.role), scope, key.may_write, limits=self._limits)

    async def run(self) -> None:
        """Note which keys are in use, until cancelled."""
        while True:
            await self._is_used.wait()
            self._is_used.clear()
            used, self._used = self._used, set()
            try:
                async with self._sessions.begin() as session:
                    await store.note_use(session, used, USE_INTERVAL)
            except Exception as error:
                # Whatever it is: the next request with the key asks for it again.
                logger.debug("the last use of keys is not noted: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    def _parse(self, text: str, address: str) -> KeyText:
        """Read a key. Only malformed ones are throttled: a neighbour's do not keep out a key that may be valid."""
        try:
            return parse_key(text)
        except MalformedKey as error:
            _require_token(self._malformed, address, "Too many malformed keys from your address.")
            self._malformed.take(address)
            raise _unauthorized(f"Send `Authorization: Bearer <key>` with a valid API key: {error}.") from error

    async def _find(self, sent: KeyText, address: str) -> ApiKey:
        # A key that was valid lately waits for none that its neighbours make up.
        name = f"key:{sent.id}" if sent.id in self._known else address
        async with self._lookups.turn(name), self._sessions() as session:
            secret, key = await store.find_with_secret(session, sent.id)
        # An unknown id costs the same as a wrong secret.
        is_valid = matches(sent, hash_key(secret, self._pepper), _NO_DIGEST if key is None else key.digest)
        if key is None or not is_valid:
            raise _unauthorized("Send `Authorization: Bearer <key>` with a valid API key: unknown key.")
        state = state_of(key, datetime.now(UTC))
        if state != "active":
            raise _unauthorized(f"The key {key.id} is {state}: ask an administrator for another.")
        self._known[key.id] = None
        self._known.move_to_end(key.id)
        if len(self._known) > MAX_NAMES:
            self._known.popitem(last=False)
        return key


def _require_token(buckets: RateLimit, name: str, detail: str) -> None:
    if seconds := math.ceil(buckets.wait(name)):
        headers = {"Retry-After": str(seconds)}
        detail = f"{detail} Try again in {seconds} s."
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", detail, headers=headers)


def _network(host: str) -> str:
    """What counts as one address: for IPv6 the /64, since one host usually has all of it."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return host


def _unauthorized(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def state_of(key: ApiKey, now: datetime) -> Literal["active", "expired", "revoked"]:
    """Whether a key is valid."""
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.expires_at is None or now < key.expires_at else "expired"
