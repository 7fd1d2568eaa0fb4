"""What one measurement is, and how a subject tells it: one line of JSON from a process of its own."""

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

__all__ = ["Measured", "Stopwatch", "cpu_seconds_of", "percentile", "tell"]


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """One round of one subject; `cpu_seconds` is that of the measured process alone."""

    operations: int
    seconds: float
    cpu_seconds: float
    peak_mb: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None

    @property
    def per_second(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU an operation."""
        return self.cpu_seconds / self.operations * 1_000_000


@dataclass
class Stopwatch:
    """What passed while a block ran."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure this process while the block runs."""
        started, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds, self.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu

    def of(self, operations: int) -> Measured:
        """So many operations were done."""
        return Measured(operations, self.seconds, self.cpu_seconds, peak_mb_of_this(), *percentiles(self.latencies))


def cpu_seconds_of(pid: int) -> float:
    """The CPU that a process has used, all its threads together (Linux: its CPU-time clock)."""
    return time.clock_gettime((~pid << 3) | 2)


def peak_mb_of(pid: int) -> float:
    """The most memory that a process has held (Linux)."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def peak_mb_of_this() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
    """Print a measurement, and leave: some peers' threads would keep the process alive."""
    sys.stdout.write(msgspec.json.encode(measured).decode() + "\n")
    sys.stdout.flush()
    os._exit(0)
