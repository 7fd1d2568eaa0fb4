"""Moments, in microseconds, of which some are missing."""

__all__ = ["earliest"]


def earliest(one: int | None, other: int | None) -> int | None:
    """The earlier of two moments, of which each may be missing."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
