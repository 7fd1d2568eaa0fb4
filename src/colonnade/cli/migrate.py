"""`colonnade migrate`: the tables of services from one version of the code to the next."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colonnade.cli.data import DEFAULT_DATA, Data, OfService
from colonnade.cli.failure import told
from colonnade.cli.output import AsJson, print_json
from colonnade.cli.target import Target, load_system
from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.migrations.line import InvalidMigration, Line
from colonnade.persistence.sqlite import NewerStore, NotAStore
from colonnade.system import InvalidSystem, System
from colonnade.system.admin.offline import NoStores, stores_in, tenants_in
from colonnade.system.hosts.data_directory import (
    TENANTS,
    DataDirectoryInUse,
    UnusableDataDirectory,
    own_data_directory,
)
from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.system.topology import topology_of
from colonnade.world import real_world

if TYPE_CHECKING:
    from colonnade.persistence.migrations.plan import Plan, PlannedPart, Progress

__all__ = ["app"]

TOLD_EVERY_SECONDS = 5.0
"""How often is told how far a long step is, where there is no terminal."""

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def migrate(
    target: Target,
    data: Data = DEFAULT_DATA,
    fleet: Annotated[bool, typer.Option("--fleet", help="Of the fleet whose data lie there.")] = False,
    postgres: Annotated[
        str | None,
        typer.Option(
            help="With --fleet: the PostgreSQL that it uses, for a user who may act for its roles.", metavar="URL"
        ),
    ] = None,
    service: OfService = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the SQL of what is to be done, and do nothing.")] = False,
    contract: Annotated[
        bool,
        typer.Option("--contract", help="With --fleet: also drop and tighten what only older code needs."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the tables of services to the version of their code: their own ones, and Colonnade's beneath.

    In a fleet, expand before the new code is started: old and new then run side by side, and the old may come back.
    With --contract, once no older instance runs, what these needed goes; after that the old code is refused. The
    embedded host, of one process, does both by itself when it starts.

    What was broken off goes on where it was when the command is given again; exit status 1 where something failed.

    [bold]Examples[/bold]

        colonnade migrate grocer.system:grocer --fleet --plan

        colonnade migrate grocer.system:grocer --fleet --postgres postgresql://admin@db.example.com/postgres

        colonnade migrate grocer.system:grocer --fleet --contract
    """
    if not fleet and (postgres is not None or contract):
        raise typer.BadParameter("--postgres and --contract are for a fleet; add --fleet.")
    with told(
        InvalidSystem,
        InvalidMigration,
        NoStores,
        NotAStore,
        NewerStore,
        StoreFailed,
        ServerFailed,
        DataDirectoryInUse,
        UnusableDataDirectory,
        PermissionError,
    ):
        system = load_system(target)
        lines = topology_of(system).lines
        if service is not None:
            if service not in lines:
                raise typer.BadParameter(f"There is no service {service!r}; there are {', '.join(lines)}.")
            lines = {service: lines[service]}
        show = _Shown(as_json=as_json, planned=plan)
        if fleet:
            asyncio.run(_fleet(system, data, postgres, lines, show, contract=contract))
        else:
            _files(data, lines, show)
        show.end()


async def _fleet(
    system: System, data: Path, postgres: str | None, lines: Mapping[str, Line], show: "_Shown", *, contract: bool
) -> None:
    from colonnade.persistence.postgres.migrating import migrating, schemas_of
    from colonnade.persistence.postgres.versions import OWN_LINE
    from colonnade.system.hosts.fleet.migrating import stores_of_fleet

    world = real_world()
    async with stores_of_fleet(system, data, postgres, world) as stores:
        for name, line in lines.items():
            store = stores.get(name)
            for schema in await schemas_of(store.url, store.role) if store is not None else ():
                assert store is not None
                async with migrating(store.url, world, schema=schema, role=store.role) as migrations:
                    plans = await migrations.plan([OWN_LINE, line], contract=contract)
                    show.begin(name if schema == "public" else f"{name}, schema {schema}", plans)
                    if not show.planned:
                        for each in plans:
                            await migrations.run(each, show.progress)


def _files(data: Path, lines: Mapping[str, Line], show: "_Shown") -> None:
    from colonnade.persistence.sqlite.migrating import migrate_store, plan_store
    from colonnade.persistence.sqlite.versions import OWN_LINE

    for tenant, directory in _directories(data).items():
        stores_in(directory)  # before it is made
        with own_data_directory(directory):
            for name, path in stores_in(directory).items():
                if name in lines:
                    of_store = [OWN_LINE, lines[name]]
                    show.begin(f"{name}, tenant {tenant}" if tenant else name, plan_store(path, of_store))
                    if not show.planned:
                        migrate_store(path, of_store, show.progress)


def _directories(data: Path) -> Mapping[str, Path]:
    tenants = tenants_in(data)
    return {tenant: data / TENANTS / tenant for tenant in tenants} if tenants else {"": data}


class _Shown:
    """What is to be done, and how it goes."""

    def __init__(self, *, as_json: bool, planned: bool) -> None:
        self.planned = planned
        self._as_json = as_json
        self._store = ""
        self._steps = 0
        self._clock = real_world().clock
        self._told_at = self._clock.monotonic()

    def begin(self, store: str, plans: "Sequence[Plan]") -> None:
        """The next store."""
        self._store = store
        self._steps += sum(plan.steps_left for plan in plans)
        if not self.planned:
            return
        for part in (part for plan in plans for part in plan.parts):
            if not self._as_json and part.done < len(part.steps):
                self._say(f"-- {store}: {part.migration.name}, {part.part}")
            for number in range(part.done, len(part.steps)):
                sql = " ".join(part.steps[number].sql.split())
                if self._as_json:
                    self._json(part, number + 1)
                else:
                    self._say(sql if sql.startswith("--") else f"{sql};")

    def progress(self, progress: "Progress") -> None:
        """A step begins, or goes on."""
        part, number = progress.part, progress.step
        if progress.rows:
            now = self._clock.monotonic()
            if now - self._told_at < TOLD_EVERY_SECONDS:
                return
            self._told_at = now
        if self._as_json:
            self._json(part, number, progress.rows)
            return
        sql = f"{progress.rows} rows" if progress.rows else " ".join(part.steps[number - 1].sql.split())
        self._say(f"{self._store}: {part.migration.name}, {part.part} {number}/{len(part.steps)}: {sql}")

    def end(self) -> None:
        """Say how it ended."""
        if self._as_json:
            return
        if not self._steps:
            self._say("The tables are those of the code; there is nothing to do.")
        elif not self.planned:
            self._say(f"Done: {self._steps} {'step' if self._steps == 1 else 'steps'}.")

    def _json(self, part: "PlannedPart", number: int, rows: int = 0) -> None:
        print_json(
            {
                "store": self._store,
                "line": part.line,
                "migration": part.migration.name,
                "part": part.part,
                "step": number,
                "of": len(part.steps),
                "sql": part.steps[number - 1].sql,
                "rows": rows,
            }
        )

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
