"""What is left for the garbage collector: objects that hold each other in a circle, and nobody else does."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import CoroutineType, FrameType

__all__ = ["Left", "left_behind"]


class Left:
    """What the block has left behind, once it is over."""

    def __init__(self) -> None:
        self.ours: list[str] = []
        """The types of Colonnade's objects, and the names of its functions that never ended."""


@contextmanager
def left_behind() -> Iterator[Left]:
    """Let nothing be collected in the block, and tell then what would be."""
    left = Left()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield left
        gc.collect()
        left.ours = sorted(filter(None, map(_ours, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _ours(one: object) -> str | None:
    if isinstance(one, FrameType):
        return one.f_code.co_qualname if "colonnade" in one.f_code.co_filename else None
    if isinstance(one, CoroutineType):
        return one.cr_code.co_qualname if "colonnade" in one.cr_code.co_filename else None
    kind = type(one)
    return kind.__qualname__ if kind.__module__.startswith("colonnade.") else None
