"""Services and systems as data: what is declared here is never written a second time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import MetaData

from colonnade.application import Saga, Subscriber
from colonnade.application.projection import Projection
from colonnade.messages import Command, Message
from colonnade.persistence.migrations.line import SERVICE, Line, read_line
from colonnade.presentation import Api

__all__ = ["Service", "System"]


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its contracts, use cases, reactions and endpoints, with a database of its own.

    `name` is its address and the first part of its stored names. `contracts` is the module whose messages other
    services may use. `providers` are functions whose return annotation is the port that they provide; an async
    generator's port lives as long as the system runs. `names` keeps the stored name of a renamed message class.
    `opening` gives commands that are carried out once in the life of the service's store, before its first request.
    `tables` are the read models and tables of the service that no projection owns; `migrations` is the folder of the
    numbered files that carry what these hold from one version of the code to the next.
    """

    name: str
    contracts: ModuleType | None = field(default=None, kw_only=True)
    # Any: handlers are told apart by their annotations, read once when the system is built
    handlers: Sequence[type[Any]] = field(default=(), kw_only=True)
    sagas: Sequence[type[Saga[Any]]] = field(default=(), kw_only=True)
    projections: Sequence[type[Projection[Any]]] = field(default=(), kw_only=True)
    subscribers: Sequence[type[Subscriber[Any]]] = field(default=(), kw_only=True)
    providers: Sequence[Callable[..., Any]] = field(default=(), kw_only=True)
    api: Api | None = field(default=None, kw_only=True)
    names: Mapping[type[Message], str] = field(default_factory=dict, kw_only=True)
    tables: MetaData | None = field(default=None, kw_only=True)
    migrations: Path | None = field(default=None, kw_only=True)
    opening: Callable[[], Iterable[Command[Any]]] | None = field(default=None, kw_only=True)

    def line(self) -> Line:
        """The migrations of its own tables; raises `InvalidMigration`."""
        tables = self.tables.tables.values() if self.tables is not None else ()
        return read_line(SERVICE, self.migrations, tuple(tables))


@dataclass(frozen=True, slots=True)
class System:
    """Services that run together, behind one gateway."""

    name: str
    services: Sequence[Service]
