"""The directories of a system's tenants: each is a data directory of its own, below that of the system."""

import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from colonnade.persistence import DataDirectory
from colonnade.security.tenants import Tenant
from colonnade.system.admin.offline import holds_stores, tenants_in
from colonnade.system.hosts.data_directory import TENANTS, UnusableDataDirectory, own_data_directory

__all__ = ["allow_open_files", "own_tenant_directories", "refuse_tenants"]

OPEN_FILES = 8_192
"""Fifty tenants of six services want 1,600; many a system lets a process begin with 1,024."""


def allow_open_files() -> None:
    """Let this process open `OPEN_FILES`, or as many as the system allows it."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def own_tenant_directories(data: DataDirectory, tenants: Sequence[Tenant]) -> Iterator[Mapping[str, DataDirectory]]:
    """Own the directory of each of `tenants`, by name, until the block ends.

    Raises `DataDirectoryInUse`, and `UnusableDataDirectory` also where `data` holds the data of no tenant.
    """
    if holds_stores(data.path):
        raise UnusableDataDirectory(
            data.path,
            "it holds data of no tenant",
            "move all of it to tenants/NAME below, for the tenant whose it is, or name another path",
        )
    with ExitStack() as owned:
        yield {
            tenant.name: owned.enter_context(own_data_directory(data.path / TENANTS / tenant.name))
            for tenant in tenants
        }


def refuse_tenants(data: Path) -> None:
    """Raises `UnusableDataDirectory` where `data` holds the data of tenants, which nobody would see without them."""
    if names := tenants_in(data):
        raise UnusableDataDirectory(
            data, f"it holds data of the tenants {', '.join(names)}", "name them with --tenant, or name another path"
        )
