"""`colonnade topology`: a system's services and the messages between them, drawn from the code."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import typer

from colonnade.cli.borders import borrowed
from colonnade.cli.failure import told
from colonnade.cli.output import AsJson, print_json
from colonnade.cli.target import Target, load_system
from colonnade.messages import Command, Event, Message, Query
from colonnade.system import InvalidSystem, System
from colonnade.system.graph import package_of
from colonnade.system.topology import topology_of

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

Ways = Mapping[tuple[str, str, str], Sequence[str]]
"""From one service to another, by kind of message, the names of the messages."""


@app.command()
def topology(target: Target, as_json: AsJson = False) -> None:
    """Draw the services of a system and the messages between them, as a Mermaid flowchart.

    A solid arrow is a command or a query on its way to the service that answers, a dotted one an event on its way to
    those who react. What a service says is read from what its code imports of the others' contracts.

    [bold]Examples[/bold]

        colonnade topology grocer.system:grocer > topology.mmd

        colonnade topology grocer.system:grocer --json
    """
    system = load_system(target)
    with told(InvalidSystem):
        topology_of(system)
    ways = _ways(system)
    if as_json:
        for (source, to, kind), names in ways.items():
            print_json({"from": source, "to": to, "kind": kind, "messages": names})
    else:
        typer.echo(_flowchart(system, ways))


def _ways(system: System) -> Ways:
    services = {package_of(service): service for service in system.services}
    ways: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for borrower, lender, name in borrowed(list(services)):
        message = getattr(services[lender].contracts, name, None)
        kind = next((kind for kind in (Command, Query, Event) if _is_a(message, kind)), None)
        if kind is Event:
            ways[services[lender].name, services[borrower].name, "event"].add(name)
        elif kind is not None:
            ways[services[borrower].name, services[lender].name, kind.__name__.lower()].add(name)
    return {way: sorted(names) for way, names in sorted(ways.items())}


def _is_a(value: object, kind: type[Message]) -> bool:
    return isinstance(value, type) and issubclass(value, kind)


def _flowchart(system: System, ways: Ways) -> str:
    lines = ["flowchart LR", *(f"    {service.name}" for service in system.services)]
    for (source, to, kind), names in ways.items():
        arrow = "-.->" if kind == "event" else "-->"
        lines.append(f'    {source} {arrow}|"{"<br>".join(names)}"| {to}')
    return "\n".join(lines)
