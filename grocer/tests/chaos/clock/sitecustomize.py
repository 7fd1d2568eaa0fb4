"""The time of day of this process can be put wrong from outside: Python runs this file when it starts.

The file `$CHAOS_CLOCK/<process>` holds by how many seconds; the monotonic clock goes on as it is.
"""

import os
import time
from pathlib import Path

_LOOK_NANOSECONDS = 200_000_000


class _Wrong:
    """A clock that is off by what a file says."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._right_ns = time.time_ns
        self._steady_ns = time.monotonic_ns
        self._offset_ns = 0
        self._look_ns = 0

    def time_ns(self) -> int:
        """What `time.time_ns` says in this process."""
        now = self._steady_ns()
        if now >= self._look_ns:
            self._look_ns = now + _LOOK_NANOSECONDS
            try:
                self._offset_ns = int(float(self._file.read_text()) * 1e9)
            except (FileNotFoundError, ValueError):  # nobody has put it wrong, or it is being written
                self._offset_ns = 0
        return self._right_ns() + self._offset_ns

    def time(self) -> float:
        """What `time.time` says in this process."""
        return self.time_ns() / 1e9


if "CHAOS_CLOCK" in os.environ:
    _clock = _Wrong(Path(os.environ["CHAOS_CLOCK"]) / str(os.getpid()))
    time.time_ns, time.time = _clock.time_ns, _clock.time
