"""Where the CPU of our side goes: a round under cProfile, told function by function.

python -m benchmarks.profiling FILE -m MODULE ARGUMENTS runs a program and leaves its profile in the file.
"""

import cProfile
import io
import pstats
import re
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["leading", "profile"]

FUNCTIONS = 40
LEADING = 12
OURS = r"(colonnade|grocer|benchmarks)/.*\((?!<module>)"


def profile(measure: Callable[[Path], None]) -> str:
    """The functions of ours that took most, by themselves and with what they called.

    `measure` runs a round that leaves its profile in the file. Times are CPU of the loop's thread and hold what
    cProfile itself costs: they are for comparing functions. A host's hold its start too.
    """
    told = io.StringIO()
    stats = _stats(measure, told)
    for order in ("cumulative", "tottime"):
        stats.sort_stats(order).print_stats(OURS if order == "cumulative" else 1.0, FUNCTIONS)
    return _short(told.getvalue())


def leading(measure: Callable[[Path], None]) -> Sequence[tuple[float, str]]:
    """The functions that took most by themselves, each with its share of all, by the same reckoning."""
    # Not get_stats_profile(), which keeps one function of each name
    own = {place: times[2] for place, times in _stats(measure, io.StringIO()).stats.items()}  # type: ignore[attr-defined]  # pstats is typed without it
    all_seconds = sum(own.values())
    most = sorted(own.items(), key=lambda entry: -entry[1])[:LEADING]
    return [(seconds / all_seconds, _place(*place)) for place, seconds in most]


def _place(file: str, line: int, function: str) -> str:
    return function if file == "~" else _short(f"{file}:{line} {function}")


def _stats(measure: Callable[[Path], None], told: io.StringIO) -> pstats.Stats:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile"
        measure(file)
        return pstats.Stats(str(file), stream=told)


def _short(told: str) -> str:
    return re.sub(r"\S*/(?=(site-packages|colonnade|grocer|benchmarks)/)", "", told)


if __name__ == "__main__":
    file, _, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    # Of this thread's CPU, so that a loop that waits for work is not told as one that works
    program = cProfile.Profile(time.thread_time)
    try:
        program.runcall(runpy.run_module, module, run_name="__main__", alter_sys=True)
    finally:
        program.dump_stats(file)
