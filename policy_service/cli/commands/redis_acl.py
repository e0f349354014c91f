"""`corspolicy redis-acl`: the Redis users of the policy service and of the clients, with the least rights."""

from __future__ import annotations

import click

from corspolicy.sync.wire import Keys
from policy_service.cli.shared.output import echo

PASSWORD_HASH = "SHA256_OF_THE_PASSWORD"  # noqa: S105
"""Stands where the SHA-256 hash of the password belongs, in lower-case hexadecimal digits."""

# SELECT for a URL with the number of a database, CLUSTER SLOTS for a Cluster.
_CONNECTION = "+ping +select +cluster|slots"
_SERVICE = (
    "+evalsha +script|load +type +exists +time +get +set +del +unlink +pttl +hget +hmget +hset +hincrby +hlen +xadd "
    "+xrevrange +xinfo|stream +zadd +zscore +zrevrange +multi +exec +info +client|list"
)
_READ = "+get +hget +hmget +hscan +hlen +xread +xrevrange +xinfo|stream"


@click.command("redis-acl")
@click.argument("user", type=click.Choice(["service", "client"]))
@click.option(
    "--version",
    default="7",
    show_default=True,
    type=click.Choice(["6", "7"]),
    help="The server's major version. On Redis 6, the rights of a client to report can't be limited to its reports: "
    "it could delete policies, until the service writes them again, but never add or change any.",
)
def redis_acl(user: str, version: str) -> None:
    """Print the command that makes the Redis user of the service, or of its clients.

    They have no rights but those that they need, on the keys of CORSPOLICY_NAMESPACE (corspolicy). Replace
    SHA256_OF_THE_PASSWORD by the hash of the user's password, and pass the command to redis-cli. For an ACL file, write
    `user` in place of `ACL SETUSER`.
    """
    try:
        keys = Keys.from_environment()
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    rights = _service_rights(keys) if user == "service" else _client_rights(keys, version)
    name = f"{keys.namespace}-{user}"
    echo(f"ACL SETUSER {name} reset on #{PASSWORD_HASH} resetchannels {rights}")


def _service_rights(keys: Keys) -> str:
    return f"~{keys.hash_tag}:* {_CONNECTION} {_SERVICE}"


def _client_rights(keys: Keys, version: str) -> str:
    """Those of a process that follows what is published, and reports what it has applied."""
    connection = f"{_CONNECTION} +client|setname +time"
    published = (keys.documents, keys.changes, keys.epoch, keys.identity)
    reports = f"~{keys.report('*')} ~{keys.resync('*')}"
    if version == "6":
        patterns = " ".join(f"~{key}" for key in (*published, keys.processes))
        return f"{patterns} {reports} {connection} {_READ} +eval +set +del +zadd +zrem +zremrangebyscore"
    patterns = " ".join(f"%R~{key}" for key in published)
    # A script needs rights on all its keys at once; and each command in it, on its own.
    script = f"(+eval ~{keys.processes} {reports})"
    return (
        f"{patterns} {connection} {_READ} {script} (+set +del {reports}) "
        f"(+zadd +zrem +zremrangebyscore ~{keys.processes})"
    )
