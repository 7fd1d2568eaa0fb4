"""Operations from the command line: through the host when it runs, on the stores when it does not."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from colonnade.cli.failure import fail, told
from colonnade.cli.output import print_json
from colonnade.cli.target import load_system
from colonnade.persistence.sqlite import NewerStore, NotAStore
from colonnade.persistence.store import StoreFailed
from colonnade.system import InvalidSystem
from colonnade.system.admin.offline import NoStores, open_stores, stores_in
from colonnade.system.admin.operations import Operation, OperationFailed
from colonnade.system.admin.perform import perform
from colonnade.system.admin.reports import Failed, Finished, Report
from colonnade.system.admin.reports import Progress as Advanced
from colonnade.system.admin.socket import HostNotRunning, ask_host
from colonnade.system.hosts.data_directory import DataDirectoryInUse, UnusableDataDirectory
from colonnade.world import real_world

__all__ = ["OfCode", "act"]

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
        stores_in(directory)
        try:
            finished = _shown(ask_host(directory, operation), title, as_json=as_json)
        except HostNotRunning as stopped:
            if needs_code and code is None:
                fail(f"{stopped} To do this without running it, name its code with --system MODULE:ATTRIBUTE.")
            finished = _shown(_offline(directory, operation, code), title, as_json=as_json)
    if not as_json and finished is not None:
        sys.stdout.write(f"{finished.summary}\n")


def _offline(directory: Path, operation: Operation, code: str | None) -> Iterator[Report]:
    """The reports of the operation, carried out here as the caller takes them."""
    system = load_system(code) if code is not None else None
    world = real_world()

    async def carry_out() -> AsyncGenerator[Report, None]:
        async with open_stores(directory, world, system) as services:
            reports = perform(operation, services, world)
            try:
                async for report in reports:
                    yield report
            finally:
                await reports.aclose()

    with asyncio.Runner() as runner:
        reports = carry_out()
        try:
            while (report := runner.run(_next(reports))) is not None:
                yield report
        finally:
            runner.run(reports.aclose())


async def _next(reports: AsyncGenerator[Report, None]) -> Report | None:
    return await anext(reports, None)


def _shown(reports: Iterable[Report], title: str, *, as_json: bool) -> Finished | None:
    """Show the progress, and give back how it ended; a failure ends the command."""
    finished = None
    # On standard error, so that what is piped is the outcome alone
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=as_json) as bar:
        task: TaskID | None = None
        for report in reports:
            if as_json:
                print_json(report)
            match report:
                case Advanced():
                    if task is None:
                        task = bar.add_task(title, total=report.total)
                    bar.update(task, completed=report.done, total=report.total)
                case Finished():
                    finished = report
                case Failed():
                    bar.stop()
                    fail(report.reason)
    return finished
