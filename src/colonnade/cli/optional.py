"""Libraries that others import where they find them, and that a process can do without."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["as_if_missing"]


@contextmanager
def as_if_missing(name: str) -> Iterator[None]:
    """What is imported in the block finds no library of that name; after it, it can be imported."""
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # as Python notes what it shall not import
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
