"""docker-compose.yml: its Redis has the users that `corspolicy redis-acl` prints, each with a password."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from policy_service.cli.commands.redis_acl import PASSWORD_HASH, redis_acl
from tests.support import ROOT


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def test_its_redis_has_the_users_with_the_least_rights(compose: dict[str, Any]) -> None:
    default, *users = compose["configs"]["redis-users"]["content"].splitlines()
    assert default == "user default reset on nopass +ping"
    printed = [
        CliRunner().invoke(redis_acl, [user], env={"CORSPOLICY_NAMESPACE": ""}).stdout.strip()
        for user in ("service", "client")
    ]
    passwords = [f">${{REDIS_{user}_PASSWORD}}" for user in ("SERVICE", "CLIENT")]
    assert users == [
        line.replace("ACL SETUSER", "user").replace(f"#{PASSWORD_HASH}", password)
        for line, password in zip(printed, passwords, strict=True)
    ]


def test_every_redis_url_names_a_user_and_a_password(compose: dict[str, Any]) -> None:
    environments = [service.get("environment") or {} for service in compose["services"].values()]
    urls = [
        environment["CORSPOLICY_REDIS_URL"] for environment in environments if "CORSPOLICY_REDIS_URL" in environment
    ]
    assert len(urls) == 3
    for url in urls:
        assert url.startswith(
            ("redis://corspolicy-service:${REDIS_SERVICE", "redis://corspolicy-client:${REDIS_CLIENT")
        )
