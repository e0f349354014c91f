"""Settings: environment variables with the prefix CORSPOLICY_."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from corspolicy.core.document import MAX_BYTES
from corspolicy.sync.connection import connect
from corspolicy.sync.wire import NAMESPACE, Keys


class Settings(BaseSettings):
    """Where the service finds its servers, and its limits."""

    model_config = SettingsConfigDict(env_prefix="CORSPOLICY_", hide_input_in_errors=True)

    database_url: str
    """PostgreSQL 15 or later, such as postgresql://user:password@host/corspolicy."""
    publisher_database_url: str | None = None
    """PostgreSQL itself, where `database_url` leads through PgBouncer in transaction mode."""
    redis_url: str
    """Redis 6.2 or later, such as redis://host:6379/0; for Sentinel and Cluster see docs/operations.md."""
    namespace: str = NAMESPACE
    """The prefix of all keys in Redis: another one for each of several installations that share a Redis. Give the
    clients the same."""
    max_body_bytes: int = Field(default=1024 * 1024, gt=0)
    """The largest request body that is read."""
    stream_length: int = Field(default=10_000, gt=0)
    """How many changes Redis keeps for clients that were away; one that missed more takes a new snapshot."""
    max_streams: int = Field(default=100, ge=1)
    """How many event streams one process serves."""
    max_waits: int = Field(default=200, ge=1)
    """How many requests of one process wait at a time until a change is applied; of one key, a quarter."""
    max_requests_per_key: int = Field(default=100, ge=1)
    """How many requests of a key one process works on at a time, streams and waits among them."""
    max_database_connections_per_key: int = Field(default=3, ge=1)
    """How many database connections requests of a key use at a time in one process; more wait."""
    queue_timeout_seconds: float = Field(default=10, gt=0)
    """How long a request waits for those before it, of its key or of the same tenant."""
    max_connections: int = Field(default=1000, ge=1)
    """How many clients may be connected to one process; then, whoever has kept it waiting longest is dropped."""
    head_timeout_seconds: float = Field(default=10, gt=0)
    """How long a client may take to send a request's head."""
    body_timeout_seconds: float = Field(default=30, gt=0)
    """How long a client may take to send a request's body."""
    response_timeout_seconds: float = Field(default=60, gt=0)
    """How long a client may take to read what was sent to it."""
    keep_alive_seconds: int = Field(default=75, gt=0)
    """How long a connection stays open between two requests; more than a proxy keeps it."""
    expire_every_seconds: float = Field(default=600, gt=0)
    """A tenant's expired entries are removed together, at most this often, in seconds. They allow nothing meanwhile."""
    history_days: int = Field(default=365, ge=1, le=36_500)
    """For how long the document of a revision can be restored after another has replaced it."""
    history_bytes_per_tenant: int = Field(default=64 * 1024 * 1024, gt=0)
    """How many bytes of documents, as JSON, the history of a tenant keeps, the newest first."""
    key_pepper: SecretStr = SecretStr("")
    """Goes into the hash of every key, beside a secret in the database: with it, someone who can write to the
    database still cannot make a key. The same for all replicas and `corspolicy keys`; changing it makes all keys
    invalid."""
    rate_limit_per_second: float = Field(default=100, gt=0)
    """How many requests a second a key may send to one process, after a burst."""
    rate_limit_burst: int = Field(default=1000, ge=1)
    failed_authentications_per_minute: int = Field(default=120, ge=1)
    """How many malformed keys an address may send to one process; a key whose checksum is right is always looked up."""
    max_policies_per_tenant: int = Field(default=100, ge=1)
    max_entries_per_policy: int = Field(default=1000, ge=1)
    max_document_bytes: int = Field(default=1024 * 1024, ge=1024, le=MAX_BYTES // 2)
    """How large a tenant's policies may be as JSON, notes included. Published they are smaller, so that clients read
    what this allows."""
    max_names_per_list: int = Field(default=1000, ge=1)
    """How many names allow_methods, allow_headers and expose_headers may each have."""

    signing_key_file: Path | None = None
    """A PEM file of mode 0600 with the Ed25519 key that signs what is published, the same for all replicas; without
    it nothing is signed. Give the clients its public key in CORSPOLICY_PUBLIC_KEYS."""

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        connect(url)
        return url

    @field_validator("namespace")
    @classmethod
    def _check_namespace(cls, namespace: str) -> str:
        return Keys(namespace).namespace

    @field_validator("database_url", "publisher_database_url")
    @classmethod
    def _use_asyncpg(cls, url: str | None) -> str | None:
        return None if url is None else driver_url(url)

    @property
    def session_database_url(self) -> str:
        """Where a connection keeps its session: for what PgBouncer in transaction mode can't do."""
        return self.publisher_database_url or self.database_url

    @property
    def is_pooled(self) -> bool:
        """Whether `database_url` leads through a pooler that gives each transaction another session."""
        return self.publisher_database_url is not None

    @property
    def keys(self) -> Keys:
        """The names of the keys in Redis."""
        return Keys(self.namespace)


def driver_url(url: str) -> str:
    """A PostgreSQL URL in the form that names the service's driver. Raises ValueError for any other URL."""
    scheme, separator, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres", "postgresql+asyncpg") or not separator:
        raise ValueError("a PostgreSQL URL starts with postgresql://")
    return f"postgresql+asyncpg://{rest}"
