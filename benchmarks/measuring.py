"""What one measurement is, and how a subject tells it: one line of JSON from a process of its own."""

import cProfile
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

__all__ = [
    "PROFILE_VARIABLE",
    "Measured",
    "Process",
    "Stopwatch",
    "assert_durable",
    "children_cpu_seconds_of",
    "cpu_seconds_of",
    "family_cpu_seconds_of",
    "family_memory_mb_of",
    "memory_mb_of",
    "peak_mb_of",
    "percentiles",
    "tell",
]

PROFILE_VARIABLE = "COLONNADE_BENCH_PROFILE"
"""Where the measured process is to leave its profile; unset, none is taken."""


class Process(msgspec.Struct, frozen=True):
    """One of the processes that were measured, with all that it has started."""

    cpu_seconds: float
    memory_mb: float


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """One round of one subject; `cpu_seconds` is that of the measured process alone."""

    operations: int
    seconds: float
    cpu_seconds: float
    children_cpu_seconds: float | None = None
    peak_mb: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    processes: Mapping[str, Process] = {}
    """Of what the CPU is made up, by name, where there are several."""

    @property
    def per_second(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU an operation."""
        return self.cpu_seconds / self.operations * 1_000_000

    @property
    def children_us(self) -> float | None:
        """Microseconds of CPU an operation that processes started by the measured one used, where there are any."""
        if self.children_cpu_seconds is None:
            return None
        return self.children_cpu_seconds / self.operations * 1_000_000


@dataclass
class Stopwatch:
    """What passed while a block ran."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    children_cpu_seconds: float | None = None
    latencies: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure this process while the block runs, and profile this thread where that is asked for."""
        file = os.environ.get(PROFILE_VARIABLE)
        profile = cProfile.Profile(time.thread_time) if file else None
        if profile is not None:
            profile.enable()
        started, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds, self.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        if profile is not None and file is not None:
            profile.disable()
            profile.dump_stats(file)

    def of(self, operations: int) -> Measured:
        """So many operations were done."""
        p50, p99 = percentiles(self.latencies)
        return Measured(
            operations,
            self.seconds,
            self.cpu_seconds,
            self.children_cpu_seconds,
            peak_mb=peak_mb_of(os.getpid()),
            p50_ms=p50,
            p99_ms=p99,
        )


def cpu_seconds_of(pid: int) -> float:
    """The CPU that a process has used, all its threads together (Linux: its CPU-time clock)."""
    return time.clock_gettime((~pid << 3) | 2)


def children_cpu_seconds_of(pid: int) -> float:
    """The CPU that the living children of a process have used (Linux)."""
    return sum(cpu_seconds_of(child) for child in _children_of(pid))


def family_cpu_seconds_of(pid: int) -> float:
    """The CPU of a process and of all that it has started, whether they live or have ended and been waited for (Linux).

    Of those that have ended it is known to a hundredth of a second.
    """
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
        own = cpu_seconds_of(pid) + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except OSError:  # it ends while we look, and whoever waits for it knows
        return 0.0
    return own + sum(family_cpu_seconds_of(child) for child in _children_of(pid))


def peak_mb_of(pid: int) -> float:
    """The most memory that a process has held since its program began (Linux).

    `ru_maxrss` would not do: across exec it keeps the memory of whoever started the program.
    """
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def memory_mb_of(pid: int) -> float:
    """The memory that a process holds, of what it shares with others its part (Linux)."""
    with suppress(OSError):  # it ends while we look
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def family_memory_mb_of(pid: int) -> float:
    """The memory that a process and all that it has started hold (Linux)."""
    return memory_mb_of(pid) + sum(family_memory_mb_of(child) for child in _children_of(pid))


def _children_of(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            children += [int(child) for child in file.read_text().split()]
    return children


def assert_durable(database: str) -> None:
    """Nothing acknowledged is lost with the power: the file is in WAL, and who sets no `synchronous` has FULL."""
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    finally:
        connection.close()


def percentile(values: Iterable[float], percent: int) -> float:
    """The value that so many percent do not exceed, by nearest rank."""
    ascending = sorted(values)
    return ascending[-(-len(ascending) * percent // 100) - 1]


def percentiles(latencies: list[float]) -> tuple[float | None, float | None]:
    """The 50th and the 99th in milliseconds, where anything was measured."""
    if not latencies:
        return None, None
    return percentile(latencies, 50) * 1000, percentile(latencies, 99) * 1000


def tell(measured: Measured) -> None:
    """Print a measurement."""
    sys.stdout.write(msgspec.json.encode(measured).decode() + "\n")
    sys.stdout.flush()
