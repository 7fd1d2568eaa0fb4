"""`colonnade check`: whether a system can run, and whether its code keeps the layers and borders."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import typer

from colonnade.cli.borders import Crossing, crossings
from colonnade.cli.data import DEFAULT_DATA, READING_FAILURES, Data, of_tenant
from colonnade.cli.failure import fail, told
from colonnade.cli.output import AsJson, print_json
from colonnade.cli.retired_sagas import retired_sagas
from colonnade.cli.target import Target, load_system
from colonnade.system import InvalidSystem, Mistake, System
from colonnade.system.admin.offline import NoStores, stores_in, tenants_in
from colonnade.system.graph import graph_mistakes, package_of
from colonnade.system.topology import topology_of

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def check(context: typer.Context, target: Target, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Check a system without starting it: its declarations, the objects it needs, the layers and borders of its code.

    Where there is data, sagas under way must have begun with versions that the code still knows. Every mistake is told
    with its place and its remedy; exit status 1 when there is one.

    [bold]Examples[/bold]

        colonnade check grocer.system:grocer

        colonnade check grocer.system:grocer --json
    """
    system = load_system(target)
    source = context.get_parameter_source("data")
    named = source is not None and source.name == "COMMANDLINE"
    with told(*READING_FAILURES):
        mistakes = _mistakes(system, _directories(data, named=named))
    borders = crossings([package_of(service) for service in system.services])
    if as_json:
        for mistake in mistakes:
            print_json({"place": mistake.place, "reason": mistake.reason, "remedy": mistake.remedy})
        for crossing in borders:
            print_json(_as_json(crossing))
    else:
        for problem in (*mistakes, *borders):
            typer.echo(str(problem))
    count = len(mistakes) + len(borders)
    if count:
        fail(f"{system.name} has {count} {'mistake' if count == 1 else 'mistakes'}.")
    if not as_json:
        endpoints = sum(len(service.api.endpoints) for service in system.services if service.api is not None)
        services = _counted(len(system.services), "service")
        typer.echo(f"{system.name} is sound: {services}, {_counted(endpoints, 'endpoint')}.")


def _directories(data: Path, *, named: bool) -> Sequence[Path]:
    """Where there is data: of each tenant, or of all."""
    if tenants := tenants_in(data):
        return [of_tenant(data, tenant) for tenant in tenants]
    # What is named has to be there; where nothing is named, there may be nothing yet
    try:
        return [data] if named or stores_in(data) else ()
    except NoStores:
        return ()


def _mistakes(system: System, directories: Sequence[Path]) -> list[Mistake]:
    try:
        topology = topology_of(system)
    except InvalidSystem as invalid:
        return list(invalid.mistakes)
    retired = [mistake for data in directories for mistake in asyncio.run(retired_sagas(topology, data))]
    return [*graph_mistakes(topology), *retired]


def _as_json(crossing: Crossing) -> dict[str, object]:
    return {
        "place": f"{crossing.path}:{crossing.line}",
        "importer": crossing.importer,
        "imported": crossing.imported,
        "reason": crossing.rule,
        "remedy": crossing.remedy,
    }


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
