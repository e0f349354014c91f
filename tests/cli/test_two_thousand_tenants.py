"""Two thousand tenants from files: interrupted, killed, run again; then nothing to do; then one line changed."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.cli.helpers import Cli, write
from tests.conftest import admin_key
from tests.service.helpers import rows
from tests.support import running, wait_until

COUNT = 2_000
INTERRUPTED = 130


@pytest.fixture(scope="module")
def environment(new_database: Callable[[], str]) -> Iterator[dict[str, str]]:
    with servers.redis() as redis_url:
        yield {
            "CORSPOLICY_DATABASE_URL": new_database(),
            "CORSPOLICY_REDIS_URL": redis_url,
            "CORSPOLICY_RATE_LIMIT_PER_SECOND": "1000",
        }


@pytest.fixture(scope="module")
def cli(environment: dict[str, str]) -> Iterator[Cli]:
    """The command line against a service of two processes."""
    with running("policy_service.app:create_app", environment, "/livez", "--workers", "2") as process:
        yield Cli(process.url, admin_key(environment["CORSPOLICY_DATABASE_URL"]))


def test_two_thousand_tenants(cli: Cli, environment: dict[str, str], folder: Path, tmp_path: Path) -> None:
    def count() -> int:
        """How many changes there are of tenants from files."""
        query = "SELECT count(*) FROM changes WHERE tenant LIKE 't%'"
        [(number,)] = rows(environment["CORSPOLICY_DATABASE_URL"], query)
        return int(number)

    def more_than(number: int) -> bool:
        time.sleep(0.5)  # The query costs what the service needs for a dozen tenants.
        return count() > number

    for index in range(COUNT):
        text = f"policies:\n  default:\n    allow_origins: [https://app{index}.example.com]\n    max_age: 600\n"
        write(folder, f"t{index:04}", text)
    printed = tmp_path / "printed"

    # Ctrl-C: requests in flight are completed, and the count is right.
    process = cli.start(printed, "apply", "-f", folder, "--yes")
    wait_until(lambda: more_than(COUNT // 10), "a tenth is applied", 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == INTERRUPTED
    done = count()
    assert done < COUNT
    assert printed.read_text().endswith(
        f"\n{done:,} of 2,000 tenants applied.\nInterrupted. Run the command again to continue.\n"
    )

    # Killed: nothing is half-written.
    process = cli.start(printed, "apply", "-f", folder, "--yes")
    wait_until(lambda: more_than(done + COUNT // 10), "another tenth is applied", 120)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL

    # Run again to the end: each tenant was written once, entirely.
    output = cli.ok("apply", "-f", folder, "--yes")
    rest = re.search(r"([\d,]+) to create, 0 to change, 0 to delete", output)
    assert rest is not None
    assert f"{rest[1]} of {rest[1]} tenants applied." in output
    assert 0 < int(rest[1].replace(",", "")) < COUNT - done
    assert count() == COUNT

    # Again: nothing to do, and no revision made.
    assert "0 to create, 0 to change, 0 to delete; 2,000 unchanged." in cli.ok("apply", "-f", folder, "--yes")
    assert count() == COUNT

    # One line changed: one revision.
    file = folder / "t0042.yaml"
    file.write_text(file.read_text().replace("600", "60"))
    output = cli.ok("apply", "-f", folder, "--yes")
    assert output.startswith("~ t0042\n    ~ default max_age: 600 → 60\n")
    assert "1 of 1 tenant applied." in output
    assert count() == COUNT + 1
