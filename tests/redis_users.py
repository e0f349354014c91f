"""The users of Redis that the service and the clients under test connect as, made by `corspolicy redis-acl`.

What tests themselves read and write in Redis, they do as its default user.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from typing import Any
from urllib.parse import urlsplit

import redis
from click.testing import CliRunner

from policy_service.cli.commands.redis_acl import PASSWORD_HASH, redis_acl

PASSWORD = "of-the-tests"
USERS = ("service", "client")

_without_users: set[str] = set()
"""Where none could be made: host and port."""


def rules(user: str, version: int) -> list[str]:
    """The name of a user, and its rules, for a Redis of that major version."""
    done = CliRunner().invoke(redis_acl, [user, "--version", str(min(version, 7))], env={"CORSPOLICY_NAMESPACE": ""})
    assert done.exit_code == 0, done.output
    words = shlex.split(done.output.replace("(", "'(").replace(")", ")'").replace(PASSWORD_HASH, _hash()))
    assert words[:2] == ["ACL", "SETUSER"]
    return words[2:]


def configuration(version: int) -> list[list[str]]:
    """The lines of a Redis configuration that make all users."""
    return [["user", *rules(user, version)] for user in USERS]


def create(url: str) -> None:
    """Make all users in a running Redis; where it permits that to nobody, all connect as its default user."""
    with redis.Redis.from_url(url) as client:
        information: Any = client.info("server")
        try:
            for user in USERS:
                client.execute_command("ACL", "SETUSER", *rules(user, int(information["redis_version"].split(".")[0])))
        except redis.ResponseError as error:
            _without_users.add(_address(url))
            message = f"{_address(url)} permits no ACL commands: everybody is its default user ({error})"
            print(message, file=sys.stderr)


def as_user(url: str, user: str) -> str:
    """The URL for that user; unchanged where it names another one, with a password, or there are none."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    if not parts.scheme.startswith("redis") or (login and PASSWORD not in login) or hosts in _without_users:
        return url
    return parts._replace(netloc=f"corspolicy-{user}:{PASSWORD}@{hosts}").geturl()


def as_default(url: str) -> str:
    """The URL for the default user."""
    return url.replace(f"corspolicy-client:{PASSWORD}@", "")


def _address(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _hash() -> str:
    return hashlib.sha256(PASSWORD.encode()).hexdigest()
