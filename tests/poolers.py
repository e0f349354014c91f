"""PgBouncer between the service and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from policy_service.local.embedded import is_open
from tests.support import free_port, wait_until

# In session mode each connection of the service keeps one: 5, and 10 more when it is busy, and two of the publisher.
POOL_SIZES = {"session": 20, "transaction": 5}


@contextlib.contextmanager
def pgbouncer(database_url: str, mode: str) -> Iterator[str]:
    """A PgBouncer that pools by `mode`; gives the URL of the same database through it."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    url = make_url(database_url)
    host = str(url.query.get("host") or url.host)
    target = {"host": host, "port": url.port or 5432, "user": url.username, "password": url.password}
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="corspolicy-pgbouncer-") as folder:
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(
            "[databases]\n"
            f"* = {' '.join(f'{name}={value}' for name, value in target.items() if value)}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = {POOL_SIZES[mode]}\n"
        )
        user = None
        if os.geteuid() == 0:
            # It does not run as root, and a Unix socket may be its owner's alone.
            user = Path(host).stat().st_uid if host.startswith("/") else 65534
            os.chown(folder, user, -1)
        process = subprocess.Popen([program, "--quiet", str(config)], user=user, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_open(port), "PgBouncer listens")
            yield f"postgresql://{url.username}@127.0.0.1:{port}/{url.database}"
        finally:
            process.kill()
            process.wait()
