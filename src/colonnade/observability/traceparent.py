"""The place of one operation in a distributed trace (W3C Trace Context, level 1)."""

import re
from dataclasses import dataclass

from colonnade.world import Randomness

__all__ = ["TraceParent"]

_SAMPLED = 0x01
# A version above 00 may bring more fields behind the four that are known, never fewer
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A trace (32 hexadecimal digits), the operation that calls (16), and whether the trace is recorded."""

    trace_id: str
    parent_id: str
    sampled: bool

    @classmethod
    def parse(cls, header: str) -> "TraceParent | None":
        """The trace context in a `traceparent` header; None when it is malformed, and a new trace is to begin."""
        if len(header) > _LONGEST or (match := _FORM.fullmatch(header)) is None:
            return None
        version, trace_id, parent_id, flags, more = match.groups()
        if version == "00" and more is not None:
            return None
        return cls(trace_id, parent_id, bool(int(flags, 16) & _SAMPLED))

    @classmethod
    def begin(cls, randomness: Randomness, *, sampled: bool = False) -> "TraceParent":
        """The first operation of a new trace."""
        return cls(f"{_above_zero(randomness, 128):032x}", f"{_above_zero(randomness, 64):016x}", sampled)

    def child(self, randomness: Randomness) -> "TraceParent":
        """An operation within this one."""
        return TraceParent(self.trace_id, f"{_above_zero(randomness, 64):016x}", self.sampled)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.parent_id}-{_SAMPLED if self.sampled else 0:02x}"


def _above_zero(randomness: Randomness, count: int) -> int:
    # An id of nothing but zeros is invalid
    while not (bits := randomness.bits(count)):
        pass
    return bits
