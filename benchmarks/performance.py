"""`make performance`: measures how Grocer's fleet scales and how commands slow as a log grows, and writes it to
docs/performance.md and docs/performance.svg.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bars import Figures, known
from benchmarks.chart import Chart, svg
from benchmarks.measuring import Measured
from benchmarks.postgres import postgres_server
from benchmarks.rounds import machine, round_of

INSTANCES = (1, 2, 3)
EVENTS = (10_000, 100_000, 1_000_000)
POWERS = ("10⁴", "10⁵", "10⁶")
DOCS = Path(__file__).parent.parent / "docs"

TEXT = """\
# Performance

Written by `make performance`; `make bench` sets us beside others. Medians of rounds in turns, {rounds} of each. On a
machine that others use too, compare the figures of one run with each other, not with those of another day.

![Orders a second by instances; the time of a command by events]({picture})

## Instances of a service

Grocer as a fleet (`colonnade up --fleet --replicas ordering=N`) on PostgreSQL, NATS and Valkey, 600 baskets flat out
over HTTP until 95 of 100 orders have ended. The CPU is that of all processes, the servers' included. Customers,
services and servers share the cores below, so more instances bring more orders only where cores are idle.

{scaling}

## The length of a log

A command on PostgreSQL, one at a time: an aggregate's ten events loaded, nothing of it in memory, one event and its
message for the outbox committed with `synchronous_commit` on. The log held so many events before.

{latency}

## The machine

{machine}
"""


def performance(
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
    docs: Annotated[Path, typer.Option(help="Where performance.md and performance.svg go.")] = DOCS,
) -> None:
    """Measure how a fleet scales and how commands slow as a log grows, and write it down."""
    about = machine()
    orders = _measured(rounds, "fleet_orders", INSTANCES, {})
    with postgres_server() as servers:
        commands = _measured(rounds, "latency_by_events", EVENTS, servers)
    charts = [
        Chart(
            "Orders a second", "instances of ordering", [str(each) for each in INSTANCES],
            {"orders/s": [each.per_second for each in orders]},
        ),
        Chart(
            "Milliseconds a command", "events in the log", POWERS,
            {"p50": [known(each.p50_ms) for each in commands], "p99": [known(each.p99_ms) for each in commands]},
        ),
    ]  # fmt: skip
    picture = "performance.svg"
    docs.joinpath(picture).write_text(svg(charts))
    docs.joinpath("performance.md").write_text(
        TEXT.format(
            rounds=rounds,
            picture=picture,
            scaling=_table(
                ["instances", "orders/s", "CPU ms/order", "POST p50 ms", "POST p99 ms", "memory MB, all processes"],
                [
                    [str(instances), f"{each.per_second:.0f}", f"{each.cpu_us / 1_000:.1f}", *_times(each),
                     f"{sum(memory for _, memory in each.processes.values()):.0f}"]
                    for instances, each in zip(INSTANCES, orders, strict=True)
                ],
            ),
            latency=_table(
                ["events", "p50 ms", "p99 ms", "client's CPU us/command"],
                [
                    [events, *_times(each), f"{each.cpu_us:.0f}"]
                    for events, each in zip(POWERS, commands, strict=True)
                ],
            ),
            machine="\n".join(f"- {name}: {what}" for name, what in about.items()),
        )
    )  # fmt: skip
    typer.echo(f"{docs / 'performance.md'} is written.")


def _measured(rounds: int, module: str, sizes: Sequence[int], servers: Mapping[str, str]) -> list[Figures]:
    measured: dict[int, list[Measured]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size, found in measured.items():
            typer.echo(f"{module} {size}, round {number + 1} of {rounds}")
            found.append(round_of(module, [str(size)], servers))
    return [Figures.of(found) for found in measured.values()]


def _times(of: Figures) -> list[str]:
    return [f"{known(of.p50_ms):.1f}", f"{known(of.p99_ms):.1f}"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    typer.run(performance)
