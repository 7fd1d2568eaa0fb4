"""Operations from the command line: through the host when it runs, on the stores when it does not."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from colonnade.cli.failure import fail, told
from colonnade.cli.output import print_json
from colonnade.cli.target import load_system
from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.migrations.line import InvalidMigration
from colonnade.persistence.sqlite import NewerStore, NotAStore
from colonnade.system import InvalidSystem
from colonnade.system.admin.evidence import read_evidence
from colonnade.system.admin.offline import NoStores, open_stores, services_in
from colonnade.system.admin.operations import Operation, OperationFailed
from colonnade.system.admin.perform import perform
from colonnade.system.admin.reports import Failed, Finished, Report
from colonnade.system.admin.reports import Progress as Advanced
from colonnade.system.admin.socket import HostNotRunning, ask_host
from colonnade.system.hosts.data_directory import DataDirectoryInUse, UnusableDataDirectory
from colonnade.world import real_world

__all__ = ["OfCode", "act", "shown"]

OfCode = Annotated[
    str | None,
    typer.Option(
        "--system",
        envvar="COLONNADE_SYSTEM",
        metavar="MODULE:ATTRIBUTE",
        help="The system's code, needed only while the system does not run.",
        show_default=False,
    ),
]

_FAILURES = (
    NoStores,
    NotAStore,
    NewerStore,
    InvalidMigration,
    StoreFailed,
    InvalidSystem,
    OperationFailed,
    DataDirectoryInUse,
    UnusableDataDirectory,
    PermissionError,
)


def act(
    directory: Path,
    operation: Operation,
    *,
    title: str,
    as_json: bool,
    code: str | None = None,
    needs_code: bool = False,
) -> None:
    """Have `operation` carried out and show how it goes; ends with status 1 when it fails.

    One that `needs_code` cannot be carried out on the stores alone.
    """
    with told(*_FAILURES):
        services_in(directory)
        if read_evidence(directory) is not None:
            if needs_code:
                fail("A fleet's read models are filled by its instances: give the projection a new version.")
            finished = shown(_offline(directory, operation, None), title, as_json=as_json)
        else:
            try:
                finished = shown(ask_host(directory, operation), title, as_json=as_json)
            except HostNotRunning as stopped:
                if needs_code and code is None:
                    fail(f"{stopped} To do this without running it, name its code with --system MODULE:ATTRIBUTE.")
                finished = shown(_offline(directory, operation, code), title, as_json=as_json)
    if not as_json and finished is not None:
        sys.stdout.write(f"{finished.summary}\n")


def _offline(directory: Path, operation: Operation, code: str | None) -> Iterator[Report]:
    """The reports of the operation, carried out here as the caller takes them."""
    system = load_system(code) if code is not None else None
    world = real_world()

    async def carry_out() -> AsyncGenerator[Report, None]:
        async with (
            open_stores(directory, world, system) as services,
            aclosing(perform(operation, services, world)) as reports,
        ):
            async for report in reports:
                yield report

    with asyncio.Runner() as runner:
        reports = carry_out()
        try:
            while (report := runner.run(_next(reports))) is not None:
                yield report
        finally:
            runner.run(reports.aclose())


async def _next(reports: AsyncGenerator[Report, None]) -> Report | None:
    return await anext(reports, None)


def shown(reports: Iterable[Report], title: str, *, as_json: bool) -> Finished | None:
    """Show the progress, and give back how it ended; a failure ends the command."""
    with _Bar(title, shown=not as_json and sys.stderr.isatty()) as bar:
        for report in reports:
            if as_json:
                print_json(report)
            match report:
                case Advanced():
                    bar.move(report)
                case Finished():
                    return report
                case Failed():
                    bar.stop()
                    fail(report.reason)
    return None


class _Bar:
    """A progress bar, drawn from the first report of progress on; on standard error, so that a pipe gets no part."""

    def __init__(self, title: str, *, shown: bool) -> None:
        self._title = title
        self._shown = shown
        self._drawn: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def move(self, to: Advanced) -> None:
        """Show how far it is."""
        if not self._shown:
            return
        if self._drawn is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
            bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
            self._drawn = bar, bar.add_task(self._title, total=to.total)
            bar.start()
        bar, task = self._drawn
        bar.update(task, completed=to.done, total=to.total)

    def stop(self) -> None:
        """Leave it as it stands."""
        if self._drawn is not None:
            self._drawn[0].stop()
            self._drawn = None
