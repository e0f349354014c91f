from __future__ import annotations

import pytest

from tests.redis_users import as_user


@pytest.fixture
def redis_url(redis_url: str) -> str:
    """An empty Redis, for a client's user; `Published` uses the default one."""
    return as_user(redis_url, "client")
