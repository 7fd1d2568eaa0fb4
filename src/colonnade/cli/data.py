"""The data directory on the command line, and reading its stores beside a host that may be running."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.sqlite import NewerStore, NotAStore
from colonnade.persistence.store import Store
from colonnade.security.tenants import is_tenant_name
from colonnade.system.admin.evidence import open_to_read
from colonnade.system.admin.offline import NoStores, services_in
from colonnade.system.hosts.data_directory import TENANTS
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
async def reading(directory: Path, service: str | None = None) -> AsyncIterator[Mapping[str, Store]]:
    """The stores of the system in `directory`, a fleet's too, or that of one service, opened for reading only.

    Raises one of `READING_FAILURES`; an unknown service is a mistake in the command.
    """
    async with open_to_read(directory, chosen(directory, service), real_world()) as stores:
        yield stores


def chosen(directory: Path, service: str | None) -> Sequence[str]:
    """The services whose stores are known in `directory`, or the one; an unknown one is a mistake in the command.

    Raises `NoStores`.
    """
    services = services_in(directory)
    if service is None:
        return services
    if service not in services:
        raise typer.BadParameter(f"There is no service {service!r}; there are {', '.join(services)}.")
    return [service]


def of_tenant(directory: Path, tenant: str | None) -> Path:
    """The data directory of `tenant` below that of its system; what is no name of one is a mistake in the command."""
    if tenant is None:
        return directory
    if not is_tenant_name(tenant):
        raise typer.BadParameter(f"{tenant!r} is no name of a tenant.")
    return directory / TENANTS / tenant
