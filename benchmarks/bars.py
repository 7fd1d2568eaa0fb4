"""What is measured beside what, and the bars."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from benchmarks.measuring import Measured

__all__ = ["BENCHMARKS", "Bar", "Benchmark", "Figures", "known"]


@dataclass(frozen=True)
class Figures:
    """The rounds of one subject in short: of each figure its own median, None where it was not measured."""

    per_second: float
    cpu_us: float
    children_us: float | None
    peak_mb: float | None
    p50_ms: float | None
    p99_ms: float | None
    processes: Mapping[str, tuple[float, float]]
    """Of each process, by name, microseconds of CPU an operation and megabytes of memory."""

    @classmethod
    def of(cls, rounds: Sequence[Measured]) -> Self:
        """The medians of these rounds."""
        return cls(
            median(each.per_second for each in rounds),
            median(each.cpu_us for each in rounds),
            _median_of_known(each.children_us for each in rounds),
            _median_of_known(each.peak_mb for each in rounds),
            _median_of_known(each.p50_ms for each in rounds),
            _median_of_known(each.p99_ms for each in rounds),
            {name: _median_process(name, rounds) for name in rounds[0].processes},
        )


def _median_process(name: str, rounds: Sequence[Measured]) -> tuple[float, float]:
    cpu = median(each.processes[name].cpu_seconds / each.operations * 1_000_000 for each in rounds)
    return cpu, median(each.processes[name].memory_mb for each in rounds)


def _median_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


Of = Mapping[str, Figures]
"""The figures of each subject."""


@dataclass(frozen=True)
class Bar:
    """A figure, what it must reach, and whether more is better; without a limit it is only told."""

    figure: str
    unit: str
    of: Callable[[Of], float]
    limit: float | None
    at_least: bool

    def holds(self, value: float) -> bool:
        """Whether the bar is met."""
        if self.limit is None:
            return True
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Benchmark:
    """Subjects, each the arguments of `python -m benchmarks.…`, measured in turns; `ours` can be profiled.

    With `on_postgres` a server is there for all of them, as `benchmarks.postgres` says.
    """

    name: str
    title: str
    operation: str
    ours: str
    subjects: Mapping[str, Sequence[str]]
    bars: Sequence[Bar]
    on_postgres: bool = False


def _against(ours: str, peer: str, named: str, at_least: float | None) -> list[Bar]:
    return [
        Bar(f"speed against {named}", "x", lambda of: of[ours].per_second / of[peer].per_second, at_least, True),
        Bar(f"CPU against {named}", "x", lambda of: of[peer].cpu_us / of[ours].cpu_us, at_least, True),
    ]


def known(figure: float | None) -> float:
    """A figure that was measured."""
    if figure is None:
        raise ValueError("a bar is set on a figure that was not measured")
    return figure


def _unit_of_work() -> Benchmark:
    subjects = {}
    for tasks, events in ((1, 1), (1, 10), (32, 1), (32, 10)):
        of = f"{tasks} x {events}"
        subjects[f"colonnade {of}"] = ("unit_of_work", f"{tasks}", f"{events}")
        subjects[f"eventsourcing {of}"] = ("peers.eventsourcing_save", f"{tasks}", f"{events}")
        subjects[f"bare group commit {of}"] = ("peers.group_commit", f"{tasks}", f"{events}")
    ours = "colonnade 32 x 1"
    return Benchmark(
        "unit-of-work",
        "(a) The unit of work on SQLite FULL: tasks x events",
        "save",
        ours,
        subjects,
        [
            *_against(ours, "eventsourcing 32 x 1", "eventsourcing, 32 x 1", 10),
            *_against(ours, "bare group commit 32 x 1", "the bare writer, 32 x 1", 0.4),
        ],
    )


def _unit_of_work_on_postgres() -> Benchmark:
    subjects = {}
    for tasks in (1, 8, 32):
        for events in (1, 10, 100):
            of = f"{tasks} x {events}"
            subjects[f"colonnade {of}"] = ("unit_of_work_postgres", f"{tasks}", f"{events}")
            subjects[f"eventsourcing {of}"] = ("peers.eventsourcing_commands", f"{tasks}", f"{events}")
            subjects[f"asyncpg {of}"] = ("peers.asyncpg_commands", f"{tasks}", f"{events}")
            subjects[f"pgbench {of}"] = ("peers.pgbench_commands", f"{tasks}", f"{events}")
    ours = "colonnade 32 x 1"
    return Benchmark(
        "unit-of-work-postgres",
        "The unit of work on PostgreSQL (streams of 10 events loaded, decided, events and outbox committed): tasks x "
        "events; the client's CPU, and the server's",
        "command",
        ours,
        subjects,
        [
            *_against(ours, "eventsourcing 32 x 1", "eventsourcing, 32 x 1", 10)[:1],
            *_against(ours, "asyncpg 32 x 1", "asyncpg, a transaction each, 32 x 1", 2)[:1],
            *_against(ours, "pgbench 32 x 1", "pgbench, 32 x 1", 0.8)[:1],
            Bar("the client's CPU of a command, 32 x 1", "us", lambda of: of[ours].cpu_us, 120, False),
        ],
        on_postgres=True,
    )


def _post() -> Benchmark:
    speed, cpu = _against("colonnade", "FastAPI + SQLAlchemy", "FastAPI + SQLAlchemy", 4)
    return Benchmark(
        "post",
        "(b) A POST that appends one event, 32 connections; the server's CPU",
        "request",
        "colonnade",
        {"colonnade": ("post",), "FastAPI + SQLAlchemy": ("peers.fastapi_sqlalchemy",)},
        [
            Bar(speed.figure, speed.unit, speed.of, None, True),
            cpu,
            Bar("CPU of a request", "us", lambda of: of["colonnade"].cpu_us, 350, False),
        ],
    )


BENCHMARKS = [
    _unit_of_work(),
    _unit_of_work_on_postgres(),
    _post(),
    Benchmark(
        "orders",
        "(c) Whole orders of Grocer through the saga, flat out; the host's CPU, latencies of POST",
        "order",
        "grocer",
        {"grocer": ("orders",), "grocer, a rebuild beside it": ("orders", "--rebuild")},
        [
            Bar("orders through the saga", "/s", lambda of: of["grocer"].per_second, None, True),
            Bar("CPU of an order", "ms", lambda of: of["grocer"].cpu_us / 1000, 6, False),
            Bar("memory of the host", "MB", lambda of: known(of["grocer"].peak_mb), 150, False),
            Bar("p99 of POST", "ms", lambda of: known(of["grocer"].p99_ms), 50, False),
            Bar("p99 of POST, rebuilding", "ms", lambda of: known(of["grocer, a rebuild beside it"].p99_ms), 50, False),
        ],
    ),
    Benchmark(
        "fleet-orders",
        "Whole orders of Grocer as a fleet, flat out, until 95 of 100 have ended; the CPU and memory of all processes",
        "order",
        "grocer",
        {"grocer": ("fleet_orders",)},
        [
            Bar("orders through the saga", "/s", lambda of: of["grocer"].per_second, 150, True),
            Bar("CPU of an order", "ms", lambda of: of["grocer"].cpu_us / 1000, 2_000 / 150, False),
            Bar(
                "memory of all processes",
                "MB",
                lambda of: sum(mb for _, mb in of["grocer"].processes.values()),
                None,
                False,
            ),
        ],
    ),
    Benchmark(
        "saga",
        "(d) A saga of three steps, 32 in flight",
        "saga",
        "colonnade",
        {"colonnade": ("saga",), "DBOS": ("peers.dbos_workflow",)},
        [
            *_against("colonnade", "DBOS", "DBOS", 8),
            Bar("CPU of a saga", "ms", lambda of: of["colonnade"].cpu_us / 1000, 4, False),
        ],
    ),
    Benchmark(
        "saga-postgres",
        "A saga of three steps on PostgreSQL, 32 in flight; the CPU of the servers too",
        "saga",
        "colonnade",
        {
            "colonnade": ("saga_postgres",),
            "DBOS": ("peers.dbos_postgres",),
            "Temporal": ("peers.temporal_workflow",),
        },
        [
            _against("colonnade", "DBOS", "DBOS", 8)[0],
            _against("colonnade", "DBOS", "DBOS", None)[1],
            *_against("colonnade", "Temporal", "Temporal's development server", None),
        ],
        on_postgres=True,
    ),
    Benchmark(
        "projection",
        "(e) A projection rebuilt from the log",
        "event",
        "colonnade",
        {"colonnade": ("projection_rebuild",), "eventsourcing": ("peers.eventsourcing_projection",)},
        _against("colonnade", "eventsourcing", "eventsourcing", None),
    ),
    Benchmark(
        "outbox-to-effect",
        "From outbox to effect over NATS, both stores SQLite FULL; the CPU of all processes",
        "message",
        "colonnade",
        {
            "colonnade": ("outbox_to_effect",),
            "colonnade, a message every 20 ms": ("outbox_to_effect", "--slowly"),
            "bare nats-py": ("peers.bare_nats",),
        },
        [
            _against("colonnade", "bare nats-py", "bare nats-py", 0.3)[0],
            Bar("CPU of a message", "us", lambda of: of["colonnade"].cpu_us, 600, False),
            Bar("p50 at low load", "ms", lambda of: known(of["colonnade, a message every 20 ms"].p50_ms), 15, False),
        ],
    ),
    Benchmark(
        "cached-get",
        "A GET of one row by its key, 8 at a time, without the network",
        "request",
        "from memory",
        {
            "anew": ("cached_get", "anew"),
            "from memory": ("cached_get", "memory"),
            "from Valkey": ("cached_get", "valkey"),
            "304, from memory": ("cached_get", "304"),
        },
        [
            Bar("CPU anew against memory", "x", lambda of: of["anew"].cpu_us / of["from memory"].cpu_us, 2, True),
            Bar("CPU anew against Valkey", "x", lambda of: of["anew"].cpu_us / of["from Valkey"].cpu_us, 1, True),
        ],
    ),
]
