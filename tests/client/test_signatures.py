"""Processes that are given public keys: whoever can write to Redis gets no origin granted."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from corspolicy import Policies
from corspolicy.sync import feed, last_known_good
from corspolicy.sync.signatures import Sum, Verifier
from corspolicy.sync.wire import Envelope, Keys
from tests.client.signed import SignedPublished, new_key
from tests.client.test_feed import A, B, Follower, following
from tests.client.test_starts import reports

EVIL = "https://evil.example"
MAX_STALE = 2.5

Attack = Callable[[SignedPublished, Path], tuple[str, bytes]]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process waits for its turn to read everything again."""
    monkeypatch.setattr(feed, "SPREAD_SECONDS", 0.0)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "key.pem"


@pytest.fixture
def public_key(key_file: Path) -> str:
    return new_key(key_file)


@pytest.fixture
def published(redis_url: str, key_file: Path, public_key: str) -> SignedPublished:
    """Tenant acme allows A, beta B."""
    published = SignedPublished(redis_url, key_file)
    published.publish("acme", 1, A)
    published.publish("beta", 2, B)
    published.end_epoch("1")
    return published


def statistics(published: SignedPublished, command: str) -> int:
    """How many times clients have sent a command."""
    found: dict[str, Any] = published.redis.info("commandstats")
    return int(found.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def read_again(published: SignedPublished, follower: Follower, caplog: pytest.LogCaptureFixture) -> None:
    """Make a gap in the stream; return when everything was read again because of that, and taken or not."""

    async def has_read() -> bool:
        messages = [record.getMessage() for record in caplog.records if record.created > began_at]
        return any(message.startswith(("snapshot of", "Redis does not hold")) for message in messages)

    caplog.set_level(logging.DEBUG, "corspolicy")
    began_at = time.time()
    published.redis.xadd(published.keys.changes, {"tenant": "any", "envelope": "1", "previous": "1-1"})
    await follower.until(has_read)


async def fresh_allows(url: str, origin: str, **options: Any) -> bool:
    """Whether a process that starts now allows an origin of acme."""
    policies = Policies(url, **{"startup_timeout": 0.2, **options})
    try:
        await policies.start()
        return bool(await Follower(policies).allows("acme", origin))
    finally:
        await policies.stop()


def altered(published: SignedPublished, _: Path) -> tuple[str, bytes]:
    signed = published.signed("acme", published.envelope("acme", 9, A))
    return "acme", signed.replace(A.encode(), EVIL.encode())


def of_another_tenant(published: SignedPublished, _: Path) -> tuple[str, bytes]:
    return "acme", published.signed("beta", published.envelope("acme", 9, EVIL))


def of_another_namespace(published: SignedPublished, key_file: Path) -> tuple[str, bytes]:
    staging = SignedPublished(published.url, key_file, Keys("staging"))
    return "acme", staging.signed("acme", published.envelope("acme", 9, EVIL))


def with_another_key(published: SignedPublished, key_file: Path) -> tuple[str, bytes]:
    new_key(key_file.with_name("other.pem"))
    other = SignedPublished(published.url, key_file.with_name("other.pem"))
    return "acme", other.signed("acme", published.envelope("acme", 9, EVIL))


def of_another_revision(published: SignedPublished, _: Path) -> tuple[str, bytes]:
    signed = published.signed("acme", published.envelope("acme", 9, EVIL))
    return "acme", b"10" + signed.removeprefix(b"9")


def with_signature(signature: bytes) -> Attack:
    def forged(published: SignedPublished, _: Path) -> tuple[str, bytes]:
        envelope = Envelope.from_bytes(published.envelope("acme", 9, EVIL))
        return "acme", b"9 " + signature.replace(b"KEY", published.signer.key_id.encode()) + (envelope.payload or b"")

    return forged


def unsigned_deletion(published: SignedPublished, _: Path) -> tuple[str, bytes]:
    return "acme", b"9"


def deletion_of_another_tenant(published: SignedPublished, _: Path) -> tuple[str, bytes]:
    return "acme", published.signed("beta", b"9")


def signed_as_deletion(published: SignedPublished, _: Path) -> tuple[str, bytes]:
    payload = Envelope.from_bytes(published.envelope("acme", 9, EVIL)).payload
    return "acme", published.signed("acme", b"9") + b" " + (payload or b"")


FORGERIES: dict[str, Attack] = {
    "unsigned": with_signature(b""),
    "altered": altered,
    "of another tenant": of_another_tenant,
    "of another namespace": of_another_namespace,
    "with another key": with_another_key,
    "of another revision": of_another_revision,
    "garbage": with_signature(b"sig=KEY:!!!! "),
    "no signature": with_signature(b"sig= "),
    "oversized": with_signature(b"sig=KEY:" + b"A" * 1_000_000 + b" "),
    "zeros": with_signature(b"sig=KEY:" + b"A" * 86 + b"== "),
    "unsigned deletion": unsigned_deletion,
    "deletion of another tenant": deletion_of_another_tenant,
    "a document signed as a deletion": signed_as_deletion,
}


@pytest.mark.parametrize(
    ("forgery", "capacity"),
    [*((forgery, 100) for forgery in FORGERIES), ("altered", 1), ("unsigned", 1), ("unsigned deletion", 1)],
)
def test_what_is_not_signed_by_the_publisher_is_rejected(
    published: SignedPublished, redis_url: str, public_key: str, key_file: Path, forgery: str, capacity: int,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    tenant, envelope = FORGERIES[forgery](published, key_file)

    async def test(follower: Follower) -> None:
        # Not used before: it is not only what a request has read that stays.
        for _ in range(3):
            published.insert(tenant, envelope)
        end: str = published.redis.xinfo_stream(published.keys.changes)["last-generated-id"].decode()

        async def has_read() -> bool:
            return follower.policies.status().cursor == end

        await follower.until(has_read)
        if capacity > 1:
            assert await follower.allows("acme", A)
            assert set(follower.policies.status().rejections) == {tenant}
            assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
        await read_again(published, follower, caplog)
        assert not await follower.allows("acme", EVIL)
        if capacity > 1:
            assert await follower.allows("acme", A)
        assert not await fresh_allows(redis_url, EVIL, public_keys=[public_key], capacity=capacity)

    following(redis_url, test, public_keys=[public_key], capacity=capacity)


def test_a_document_of_the_publisher_is_applied_and_a_process_without_keys_ignores_signatures(
    published: SignedPublished, redis_url: str, public_key: str
) -> None:
    async def test(follower: Follower) -> None:
        assert await follower.allows("acme", A)
        published.publish("acme", 3, B)
        await follower.until_allows("acme", B)
        published.delete("acme", 4)
        await follower.until_denies("acme", B)
        published.publish("acme", 5, A)
        await follower.until_allows("acme", A)
        age = follower.policies.status().age
        assert age is not None
        assert age < 1
        assert await fresh_allows(redis_url, A, public_keys=[public_key])

    following(redis_url, test, public_keys=[public_key])
    following(redis_url, lambda follower: follower.until_allows("acme", A))


def test_a_start_verifies_no_document_and_the_first_use_of_one_does(
    published: SignedPublished, redis_url: str, public_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    check = Verifier.check_document

    def counting(self: Verifier, tenant: str, envelope: Envelope) -> None:
        checked.append(tenant)
        check(self, tenant, envelope)

    monkeypatch.setattr(Verifier, "check_document", counting)

    async def test(follower: Follower) -> None:
        assert checked == []
        assert await follower.allows("acme", A)
        assert await follower.allows("acme", A)
        assert checked == ["acme"]

    following(redis_url, test, public_keys=[public_key])


def test_a_revision_that_was_replaced_does_not_come_back(
    published: SignedPublished, redis_url: str, public_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    published.publish("acme", 3, EVIL)
    old = published.redis.hget(published.keys.documents, "acme")
    published.publish("acme", 4, A)

    async def test(follower: Follower) -> None:
        published.insert("acme", old)
        await read_again(published, follower, caplog)
        assert (await follower.allows("acme", A), await follower.allows("acme", EVIL)) == (True, False)
        assert not await fresh_allows(redis_url, EVIL, public_keys=[public_key])

    following(redis_url, test, public_keys=[public_key])


def stored(published: SignedPublished) -> dict[bytes, bytes]:
    """Everything that is in Redis."""
    return {key: published.redis.dump(key) for key in published.redis.keys("*")}


def roll_back(published: SignedPublished, everything: dict[bytes, bytes]) -> None:
    with published.redis.pipeline() as pipeline:
        for key, value in everything.items():
            pipeline.restore(key, 0, value, replace=True)
        pipeline.execute()


@pytest.mark.parametrize("is_new_epoch", [True, False])
def test_an_older_redis_is_not_followed_neither_by_who_has_a_file(
    published: SignedPublished, redis_url: str, public_key: str, tmp_path: Path, is_new_epoch: bool
) -> None:
    options: dict[str, Any] = {"public_keys": [public_key], "max_stale": MAX_STALE, "snapshot_path": tmp_path / "file"}
    published.publish("acme", 3, EVIL)
    old = stored(published)
    published.publish("acme", 4, A)
    if is_new_epoch:
        published.end_epoch("2")

    async def test(follower: Follower) -> None:
        with published.beating():
            await follower.until_allows("acme", A)
            await follower.until(lambda: asyncio.to_thread((tmp_path / "file").exists))
        roll_back(published, old)
        until = time.monotonic() + MAX_STALE + 1
        while time.monotonic() < until:
            assert not await follower.allows("acme", EVIL)
            await asyncio.sleep(0.05)
        assert not await follower.allows("acme", A), "too old"
        assert not await fresh_allows(redis_url, EVIL, **options)

    following(redis_url, test, **options)
    # Without a file nobody can know better; but it is too old.
    assert not asyncio.run(fresh_allows(redis_url, EVIL, public_keys=[public_key], max_stale=MAX_STALE))


@pytest.mark.parametrize("hidden", ["one change", "everything"])
def test_policies_become_too_old_when_changes_are_withheld(
    published: SignedPublished, redis_url: str, public_key: str, hidden: str
) -> None:
    async def test(follower: Follower) -> None:
        if hidden == "one change":
            # What the publisher writes next does not stay in Redis, but for the state.
            published.count("acme", published.envelope("acme", 3, B))
        with published.beating() if hidden == "one change" else nullcontext():
            assert await follower.allows("acme", A)
            await follower.until_denies("acme", A)
            assert not await fresh_allows(redis_url, A, public_keys=[public_key], max_stale=MAX_STALE)

    following(redis_url, test, public_keys=[public_key], max_stale=MAX_STALE)


def test_signed_news_keeps_the_policies_young_without_changes_and_beside_an_unreadable_document(
    published: SignedPublished, redis_url: str, public_key: str
) -> None:
    async def test(follower: Follower) -> None:
        with published.beating():
            published.publish_envelope("acme", b"3 {}")
            until = time.monotonic() + MAX_STALE + 1
            while time.monotonic() < until:
                assert await follower.allows("acme", A)
                await asyncio.sleep(0.05)
            assert set(follower.policies.status().rejections) == {"acme"}

    following(redis_url, test, public_keys=[public_key], max_stale=MAX_STALE)


def test_an_epoch_that_nobody_signed_is_not_followed(
    published: SignedPublished, redis_url: str, public_key: str
) -> None:
    async def test(follower: Follower) -> None:
        published.redis.delete(published.keys.documents)
        published.store("acme", published.envelope("acme", 9, EVIL))
        published.redis.set(published.keys.epoch, "2")
        published.redis.hset(published.keys.documents, ":epoch", "2")
        published.announce(epoch="2")
        reads = statistics(published, "hget")
        await follower.until(lambda: asyncio.to_thread(lambda: statistics(published, "hget") > reads + 2))
        assert (await follower.allows("acme", A), await follower.allows("acme", EVIL)) == (True, False)
        assert not await fresh_allows(redis_url, EVIL, public_keys=[public_key])

    following(redis_url, test, public_keys=[public_key])


def test_keys_rotate_without_a_gap(published: SignedPublished, redis_url: str, public_key: str, tmp_path: Path) -> None:
    second = new_key(tmp_path / "second.pem")

    async def test(follower: Follower) -> None:
        assert await follower.allows("acme", A)
        rotated = SignedPublished(redis_url, tmp_path / "second.pem")
        rotated.begin_epoch()
        rotated.publish("acme", 1, A)
        rotated.end_epoch("2")
        rotated.publish("acme", 3, B)
        await follower.until_allows("acme", B)
        expected = Verifier("corspolicy", [public_key, second]).key_ids

        def has_reported() -> bool:
            return bool(reports(published)[0]["key_ids"] == expected)

        await follower.until(lambda: asyncio.to_thread(has_reported))

    following(redis_url, test, public_keys=[public_key, second])


@pytest.mark.parametrize("change", ["altered", "older", "unsigned", "no state"])
def test_a_file_that_is_not_what_was_signed_is_ignored(
    published: SignedPublished, redis_url: str, public_key: str, tmp_path: Path, change: str
) -> None:
    published.publish("acme", 3, EVIL)
    old = Envelope.from_bytes(published.redis.hget(published.keys.documents, "acme"))
    published.publish("acme", 4, A)
    path = tmp_path / "file"

    async def test(follower: Follower) -> None:
        await follower.until(lambda: asyncio.to_thread(path.exists))

    following(redis_url, test, public_keys=[public_key], snapshot_path=path)
    found = last_known_good.read(path)
    nowhere = "redis://127.0.0.1:1/0"
    assert asyncio.run(fresh_allows(nowhere, A, public_keys=[public_key], snapshot_path=path))
    head, envelopes = found.head, dict(found.envelopes)
    payload = Envelope.from_bytes(published.envelope("acme", 4, EVIL)).payload
    if change == "altered":
        envelopes["acme"] = envelopes["acme"]._replace(payload=payload)
    elif change == "older":
        envelopes["acme"] = old
    elif change == "unsigned":
        envelopes["acme"] = Envelope(4, payload)
    else:
        head = head._replace(state=None)
    last_known_good.write(path, head, envelopes.items())
    for origin in (A, EVIL):
        assert not asyncio.run(fresh_allows(nowhere, origin, public_keys=[public_key], snapshot_path=path))


def test_a_sum_depends_on_what_is_in_it_alone() -> None:
    first, second = Sum(), Sum()
    for tenant, revision in (("a", 1), ("b", 2), ("c", 3)):
        first.add(tenant, revision)
    first.remove("b", 2)
    for tenant, revision in (("c", 3), ("a", 1)):
        second.add(tenant, revision)
    assert first.digest == second.digest
    second.add("b", 3)
    assert first.digest != second.digest


@pytest.mark.parametrize("key", ["", "no base64!", "AAAA", "MCowBQYDK2VwAyEA"])
def test_an_invalid_public_key_is_named(key: str) -> None:
    with pytest.raises(ValueError, match="not an Ed25519 public key"):
        Policies("redis://localhost", public_keys=[key])
    with pytest.raises(ValueError, match="public_keys is empty"):
        Policies("redis://localhost", public_keys=[])


def test_public_keys_come_from_the_environment(
    published: SignedPublished, redis_url: str, public_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORSPOLICY_PUBLIC_KEYS", f"{public_key},")
    published.store("acme", published.envelope("acme", 9, EVIL))
    assert not asyncio.run(fresh_allows(redis_url, EVIL))
    (_, state) = published.redis.hget(published.keys.identity, "state").split(b" ")
    assert json.loads(state)["epoch"] == "1"
