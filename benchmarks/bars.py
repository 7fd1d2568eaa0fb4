"""What is measured beside what, and the bars."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measuring import Measured

__all__ = ["BENCHMARKS", "Bar", "Benchmark"]

Of = Mapping[str, Measured]
"""The median round of each subject."""


@dataclass(frozen=True)
class Bar:
    """A figure, what it must reach, and whether more is better."""

    figure: str
    unit: str
    of: Callable[[Of], float]
    limit: float
    at_least: bool

    def holds(self, value: float) -> bool:
        """Whether the bar is met."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Benchmark:
    """Subjects, each the arguments of `python -m benchmarks.…`, measured in turns."""

    name: str
    title: str
    operation: str
    subjects: Mapping[str, Sequence[str]]
    bars: Sequence[Bar]


def _speed(ours: str, peer: str) -> Callable[[Of], float]:
    return lambda of: of[ours].per_second / of[peer].per_second


def _cpu(ours: str, peer: str) -> Callable[[Of], float]:
    return lambda of: of[peer].cpu_us / of[ours].cpu_us


def _cpu_ms(ours: str) -> Callable[[Of], float]:
    return lambda of: of[ours].cpu_us / 1000


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
        subjects,
        [
            Bar("speed against eventsourcing, 32 x 1", "x", _speed(ours, "eventsourcing 32 x 1"), 10, True),
            Bar("CPU against eventsourcing, 32 x 1", "x", _cpu(ours, "eventsourcing 32 x 1"), 10, True),
            Bar("speed against the bare writer, 32 x 1", "x", _speed(ours, "bare group commit 32 x 1"), 0.4, True),
        ],
    )


BENCHMARKS = [
    _unit_of_work(),
    Benchmark(
        "post",
        "(b) A POST that appends one event, 32 connections; the server's CPU",
        "request",
        {"colonnade": ("post",), "FastAPI + SQLAlchemy": ("peers.fastapi_sqlalchemy",)},
        [
            Bar("CPU against FastAPI + SQLAlchemy", "x", _cpu("colonnade", "FastAPI + SQLAlchemy"), 4, True),
            Bar("CPU of a request", "us", lambda of: of["colonnade"].cpu_us, 350, False),
        ],
    ),
    Benchmark(
        "orders",
        "(c) Whole orders of Grocer through the saga, flat out; the host's CPU, latencies of POST",
        "order",
        {"grocer": ("orders",), "grocer, a rebuild beside it": ("orders", "--rebuild")},
        [
            Bar("CPU of an order", "ms", _cpu_ms("grocer"), 6, False),
            Bar("memory of the host", "MB", lambda of: of["grocer"].peak_mb or 0, 150, False),
            Bar("p99 of POST", "ms", lambda of: of["grocer"].p99_ms or 0, 50, False),
            Bar("p99 of POST, rebuilding", "ms", lambda of: of["grocer, a rebuild beside it"].p99_ms or 0, 50, False),
        ],
    ),
    Benchmark(
        "saga",
        "(d) A saga of three steps, 32 in flight",
        "saga",
        {"colonnade": ("saga",), "DBOS": ("peers.dbos_workflow",)},
        [
            Bar("speed against DBOS", "x", _speed("colonnade", "DBOS"), 8, True),
            Bar("CPU of a saga", "ms", _cpu_ms("colonnade"), 4, False),
        ],
    ),
    Benchmark(
        "projection",
        "(e) A projection rebuilt from the log",
        "event",
        {"colonnade": ("projection_rebuild",), "eventsourcing": ("peers.eventsourcing_projection",)},
        [Bar("speed against eventsourcing", "x", _speed("colonnade", "eventsourcing"), 1, True)],
    ),
]
