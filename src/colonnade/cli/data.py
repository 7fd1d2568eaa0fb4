"""The data directory on the command line, and reading its stores beside a host that may be running."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from colonnade.persistence.sqlite import NewerStore, NotAStore, SqliteStore, open_sqlite_store
from colonnade.persistence.store import StoreFailed
from colonnade.security.tenants import is_tenant_name
from colonnade.system.admin.offline import TENANTS, NoStores, stores_in
from colonnade.world import real_world

__all__ = ["DEFAULT_DATA", "READING_FAILURES", "Data", "OfService", "OfTenant", "chosen", "of_tenant", "reading"]

DEFAULT_DATA = Path(".colonnade")

Data = Annotated[
    Path,
    typer.Option("--data", "-d", envvar="COLONNADE_DATA", help="The data directory of the system.", metavar="DIR"),
]

OfService = Annotated[
    str | None, typer.Option("--service", "-s", help="Of this service only.", metavar="SERVICE", show_default=False)
]

OfTenant = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        envvar="COLONNADE_TENANT",
        help="Whose data, where the system has tenants.",
        metavar="TENANT",
        show_default=False,
    ),
]

READING_FAILURES = (NoStores, NotAStore, NewerStore, StoreFailed, FileNotFoundError, PermissionError)


@asynccontextmanager
async def reading(directory: Path, service: str | None = None) -> AsyncIterator[Mapping[str, SqliteStore]]:
    """The stores in `directory`, or that of one service, opened for reading only.

    Raises one of `READING_FAILURES`; an unknown service is a mistake in the command.
    """
    async with AsyncExitStack() as opened:
        stores = {}
        for name, path in chosen(directory, service).items():
            stores[name] = await open_sqlite_store(path, real_world(), read_only=True)
            opened.push_async_callback(stores[name].close)
        yield stores


def chosen(directory: Path, service: str | None) -> Mapping[str, Path]:
    """The files of the stores in `directory`, or that of one service; an unknown one is a mistake in the command.

    Raises `NoStores`.
    """
    files = stores_in(directory)
    if service is None:
        return files
    if service not in files:
        raise typer.BadParameter(f"There is no service {service!r}; there are {', '.join(files)}.")
    return {service: files[service]}


def of_tenant(directory: Path, tenant: str | None) -> Path:
    """The data directory of `tenant` below that of its system; what is no name of one is a mistake in the command."""
    if tenant is None:
        return directory
    if not is_tenant_name(tenant):
        raise typer.BadParameter(f"{tenant!r} is no name of a tenant.")
    return directory / TENANTS / tenant
