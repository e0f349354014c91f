"""Writing tenants to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from policy_service.cli.gitops import files
from policy_service.cli.gitops.files import TenantFile
from policy_service.cli.gitops.plan import Current


def export(folder: Path, tenants: Mapping[str, Current]) -> int:
    """Write each tenant to a file in the folder, except where its file already says the same; gives how many."""
    folder.mkdir(parents=True, exist_ok=True)
    return sum(_export(folder, slug, current) for slug, current in tenants.items())


def _export(folder: Path, slug: str, current: Current) -> bool:
    path = folder / f"{slug}.yml"
    if not path.exists():
        path = folder / f"{slug}.yaml"
    heading = ""
    if path.exists():
        file = files.read(path)
        if isinstance(file, TenantFile) and file.tenant == current.tenant:
            return False
        heading = files.heading(path)
    # Written beside it and moved: the file is complete at any moment.
    new = path.with_name(f".{path.name}.new")
    new.write_text(heading + files.written(slug, current.tenant), encoding="utf-8")
    new.replace(path)
    return True
