"""What is told about an operation: how far it is, and how it ended."""

import msgspec

__all__ = ["Failed", "Finished", "Progress", "Report"]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """`done` of `total` units of work are behind; `total` may still grow."""

    done: int
    total: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The operation is done: a sentence for people, and how many things it changed."""

    summary: str
    changed: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The operation was not done, and why."""

    reason: str


Report = Progress | Finished | Failed
"""Any number of `Progress`, then one of the others."""
