"""Where the CPU of our side goes: a round under cProfile, told function by function."""

import io
import pstats
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["profile"]

FUNCTIONS = 40
OURS = r"(colonnade|grocer|benchmarks)/.*\((?!<module>)"


def profile(measure: Callable[[Path], None]) -> str:
    """The functions of ours that took most, by themselves and with what they called.

    `measure` runs a round that leaves its profile in the file. Times are of the loop's thread and hold what cProfile
    itself costs: they are for comparing functions. A host's hold its start too.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile"
        measure(file)
        told = io.StringIO()
        stats = pstats.Stats(str(file), stream=told)
    for order in ("cumulative", "tottime"):
        stats.sort_stats(order).print_stats(OURS if order == "cumulative" else 1.0, FUNCTIONS)
    return re.sub(r"\S*/(?=(site-packages|colonnade|grocer|benchmarks)/)", "", told.getvalue())
