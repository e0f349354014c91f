"""The file with the key that signs what is published."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from policy_service.publisher.signing import InvalidSigningKey, Signer
from tests.client.signed import new_key


def readable_by_others(path: Path) -> None:
    new_key(path)
    path.chmod(0o640)


def of_another_algorithm(path: Path) -> None:
    subprocess.run(["openssl", "genpkey", "-algorithm", "x25519", "-out", path], check=True)


def no_key(path: Path) -> None:
    path.touch(0o600)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (readable_by_others, "others may read the signing key"),
        (of_another_algorithm, "not a PEM file with an unencrypted Ed25519 key"),
        (no_key, "not a PEM file with an unencrypted Ed25519 key"),
        (lambda path: None, "can't be read: No such file"),
    ],
)
def test_a_file_that_is_no_signing_key_is_rejected(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    make(tmp_path / "key.pem")
    with pytest.raises(InvalidSigningKey, match=why):
        Signer(tmp_path / "key.pem", "corspolicy")


def test_openssl_makes_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.touch(0o600)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    public = subprocess.run(
        f"openssl pkey -in '{path}' -pubout -outform DER | base64",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Signer(path, "corspolicy").public_key == public.stdout.strip()


def test_serve_says_what_is_wrong_with_the_key(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "CORSPOLICY_DATABASE_URL": "postgresql://nowhere/none",
        "CORSPOLICY_REDIS_URL": "redis://nowhere",
        "CORSPOLICY_SIGNING_KEY_FILE": str(tmp_path / "missing"),
    }
    command = [sys.executable, "-c", "from policy_service.cli.main import main; main()", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: CORSPOLICY_SIGNING_KEY_FILE: the signing key")
    assert "Traceback" not in done.stderr


def test_a_state_is_later_than_every_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_key(tmp_path / "key.pem")
    first, second = (Signer(tmp_path / "key.pem", "corspolicy") for _ in range(2))
    state = first.state("1")
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert second.resume(state, {}) is None
    # Accepted after the other: neither the clock nor another leader can make it older.
    assert second.resume(second.state("1"), {}) is None
    assert second.resume(state, {}) is None
    assert "is not signed" in str(second.resume(b"", {}))
