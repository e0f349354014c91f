"""Settings: environment variables with the prefix CORSPOLICY_."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio import Redis


class Settings(BaseSettings):
    """Where the service finds its servers, and its limits."""

    model_config = SettingsConfigDict(env_prefix="CORSPOLICY_")

    database_url: str
    """PostgreSQL 15 or later, such as postgresql://user:password@host/corspolicy."""
    redis_url: str
    """Redis 6.2 or later, such as redis://host:6379/0."""
    max_body_bytes: int = Field(default=1024 * 1024, gt=0)
    """The largest request body that is read."""
    stream_length: int = Field(default=10_000, gt=0)
    """How many changes Redis keeps for clients that were away; one that missed more reads everything anew."""

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        Redis.from_url(url)
        return url

    @field_validator("database_url")
    @classmethod
    def _use_asyncpg(cls, url: str) -> str:
        scheme, separator, rest = url.partition("://")
        if scheme not in ("postgresql", "postgres", "postgresql+asyncpg") or not separator:
            raise ValueError("a PostgreSQL URL starts with postgresql://")
        return f"postgresql+asyncpg://{rest}"
