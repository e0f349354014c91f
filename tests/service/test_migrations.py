"""The schema: up, equal to the models, down to nothing, up again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from policy_service import migrate
from policy_service.models import Base
from tests.conftest import admin_key
from tests.service.helpers import driver_url, execute, rows
from tests.support import ROOT

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"
OBJECTS = """
SELECT relkind::text, relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE nspname = 'public' AND relname NOT LIKE 'alembic_version%' ORDER BY 1, 2
"""
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY 1, 2
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
HEAD = str(ScriptDirectory(str(ROOT / "migrations")).get_current_head())
BEFORE_HISTORY = "0003"
EMPTY = {
    "allow_origins": [], "allow_credentials": False, "allow_methods": [], "allow_headers": [], "expose_headers": [],
    "max_age": None, "dangerously_allow_insecure_origins": False, "dangerously_allow_public_suffixes": False,
}  # fmt: skip


def test_up_down_to_nothing_and_up_again_gives_the_same_schema(database_url: str) -> None:
    url = driver_url(database_url)
    first = [rows(database_url, query) for query in (OBJECTS, COLUMNS, INDEXES)]
    migrate.check(url)
    migrate.downgrade(url, "base")
    assert rows(database_url, OBJECTS) == []
    assert rows(database_url, "SELECT * FROM alembic_version") == []
    migrate.upgrade(url)
    migrate.check(url)
    assert [rows(database_url, query) for query in (OBJECTS, COLUMNS, INDEXES)] == first


def test_tables_and_sequences_are_those_of_the_models(database_url: str) -> None:
    tables = {str(name) for (name,) in rows(database_url, TABLES)}
    assert tables == {*Base.metadata.tables, "alembic_version"}
    sequences = {str(name) for (name,) in rows(database_url, SEQUENCES)}
    assert sequences == set(Base.metadata._sequences)


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE changes ADD extra text", "ALTER TABLE api_keys DROP COLUMN digest", "DROP TABLE publication",
     "DROP INDEX changes_unpublished", "ALTER TABLE tenants ALTER revision DROP NOT NULL"],
)  # fmt: skip
def test_the_check_notices_a_schema_that_differs(database_url: str, change: str) -> None:
    execute(database_url, change)
    with pytest.raises(CommandError):
        migrate.check(driver_url(database_url))


def _alembic(folder: Path, database_url: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Alembic's own command, as a developer does; the database is named in the environment only."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CORSPOLICY_")}
    if database_url is not None:
        environment["CORSPOLICY_DATABASE_URL"] = database_url
    command = [str(Path(sys.executable).with_name("alembic")), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_alembic_works_in_a_checkout(database_url: str) -> None:
    for arguments, shown in [
        (("current",), f"{HEAD} (head)\n"),
        (("downgrade", "base"), ""),
        (("current",), ""),
        (("upgrade", "head"), ""),
        (("current",), f"{HEAD} (head)\n"),
        (("check",), "No new upgrade operations detected.\n"),
    ]:
        done = _alembic(ROOT, database_url, *arguments)
        assert (done.returncode, done.stdout) == (0, shown), done.stderr
    migrate.check(driver_url(database_url))


def test_alembic_writes_the_migration_to_what_the_models_say(database_url: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    execute(database_url, "ALTER TABLE changes DROP COLUMN difference CASCADE")
    done = _alembic(tmp_path, database_url, "revision", "--autogenerate", "-m", "add the difference")
    assert done.returncode == 0, done.stderr
    number = f"{int(HEAD) + 1:04}"
    migration = tmp_path / "migrations" / "versions" / f"{number}_add_the_difference.py"
    text = migration.read_text()
    assert text.startswith('"""add the difference"""\n')
    assert f'revision = "{number}"\ndown_revision = "{HEAD}"\n' in text
    linter = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), str(migration)]
    linted = subprocess.run(linter, capture_output=True, text=True, timeout=60)
    assert linted.returncode == 0, linted.stdout + text
    for command in (("upgrade", "head"), ("check",)):
        done = _alembic(tmp_path, database_url, *command)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "Set CORSPOLICY_DATABASE_URL, such as postgresql://"),
        ("mysql://localhost/x", "CORSPOLICY_DATABASE_URL: a PostgreSQL URL starts with postgresql://"),
    ],
)
def test_alembic_says_which_database_it_needs(url: str | None, said: str) -> None:
    done = _alembic(ROOT, url, "current")
    assert (done.returncode, "Traceback" in done.stderr) == (255, False)
    assert said in done.stdout + done.stderr


def test_the_platform_tenant_is_there_and_its_creation_waits_to_be_published(database_url: str) -> None:
    [(slug, revision, document)] = rows(database_url, "SELECT slug, revision, document FROM tenants")
    assert slug == "platform"
    assert document["policies"] == {"default": EMPTY}
    changes = rows(database_url, "SELECT revision, tenant, action, after, published_at FROM changes")
    assert changes == [(revision, "platform", "tenant.create", document, None)]


def test_an_upgrade_of_a_schema_that_is_up_to_date_keeps_the_data(database_url: str) -> None:
    admin_key(database_url)
    everything = [f"SELECT * FROM {table}" for table in ("tenants", "changes", "api_keys")]
    before = [rows(database_url, query) for query in everything]
    migrate.upgrade(driver_url(database_url))
    assert [rows(database_url, query) for query in everything] == before


def test_what_was_stored_before_there_was_a_history_is_taken_into_it(database_url: str) -> None:
    url = driver_url(database_url)
    migrate.downgrade(url, BEFORE_HISTORY)
    entries = (
        '[{"expires_at": null}, {"expires_at": "2090-06-01T00:00:00+02:00"}, {"expires_at": "2095-01-01T00:00:00Z"}]'
    )
    document = f'{{"policies": {{"billing": {{"allow_origins": {entries}}}, "default": {{"allow_origins": []}}}}}}'
    execute(
        database_url,
        f"INSERT INTO tenants (slug, revision, document) VALUES ('acme', 12, '{document}')".replace(":", "\\:"),
    )
    execute(database_url, "UPDATE changes SET published_at = now()")
    for revision, published in ((10, "now()"), (11, "NULL"), (12, "now()")):
        values = f"{revision}, 'acme', 'x', 'policy.put', {published}"
        execute(database_url, f"INSERT INTO changes (revision, tenant, actor, action, published_at) VALUES ({values})")
    migrate.upgrade(url)
    ends = rows(database_url, "SELECT slug, next_expiry FROM tenants ORDER BY slug")
    assert ends == [("acme", datetime(2090, 5, 31, 22, tzinfo=UTC)), ("platform", None)]
    changes = rows(database_url, "SELECT revision, position, difference, omitted FROM changes ORDER BY revision")
    assert [change[1] for change in changes] == [1, 2, None, 3]
    assert changes[0][2] == [{"words": "tenant created", "op": "add"}]
    assert [change[2:] for change in changes[1:]] == [([], 0)] * 3


def test_the_document_before_is_that_of_the_change_before_on_the_way_down(database_url: str) -> None:
    url = driver_url(database_url)
    values = [
        (101, "acme", "tenant.create", '\'{"name"\\: "a"}\'', "NULL"),
        (102, "other", "tenant.create", '\'{"name"\\: "o"}\'', "NULL"),
        (103, "acme", "tenant.rename", "NULL", "now()"),
        (104, "acme", "tenant.rename", '\'{"name"\\: "c"}\'', "NULL"),
        (105, "acme", "tenant.delete", "NULL", "NULL"),
        (106, "acme", "tenant.create", '\'{"name"\\: "n"}\'', "NULL"),
    ]
    for revision, tenant, action, after, compacted_at in values:
        execute(
            database_url,
            "INSERT INTO changes (revision, tenant, actor, action, after, compacted_at)"
            f" VALUES ({revision}, '{tenant}', 'x', '{action}', {after}, {compacted_at})",
        )
    migrate.downgrade(url, "0008")
    before = "SELECT revision, before ->> 'name' FROM changes WHERE revision > 100 ORDER BY revision"
    assert rows(database_url, before) == [(101, None), (102, None), (103, "a"), (104, None), (105, "c"), (106, None)]
    migrate.upgrade(url)
    # What is not there any more is known not to be a deletion.
    gone = "SELECT revision FROM changes WHERE compacted_at IS NOT NULL"
    assert rows(database_url, gone) == [(103,)]


def test_replicas_that_migrate_an_empty_database_at_the_same_time_all_succeed(
    database_url: str, redis_url: str
) -> None:
    migrate.downgrade(driver_url(database_url), "base")
    execute(database_url, "DROP TABLE alembic_version")
    command = [str(Path(sys.executable).with_name("corspolicy")), "migrate"]
    environment = {**os.environ, "CORSPOLICY_DATABASE_URL": database_url, "CORSPOLICY_REDIS_URL": redis_url}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    migrate.check(driver_url(database_url))
    assert rows(database_url, "SELECT slug FROM tenants") == [("platform",)]
