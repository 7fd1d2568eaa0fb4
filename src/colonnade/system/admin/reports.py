"""What is told about an operation: how far it is, and how it ended."""

import msgspec

__all__ = ["Failed", "Finished", "Progress", "ProjectionStatus", "Report"]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """`done` of `total` units of work are behind; `total` may still grow."""

    done: int
    total: int


class ProjectionStatus(msgspec.Struct, frozen=True):
    """A projection has taken what it takes up to `position` of a log that ends at `end`.

    `running` tells whether somebody keeps it up with the log, `stopped` why it went no further, and `held` which
    streams it leaves out; both say what to do.
    """

    service: str
    projection: str
    position: int
    end: int
    running: bool
    stopped: str | None = None
    held: str | None = None


class Finished(msgspec.Struct, frozen=True, tag="finished", omit_defaults=True):
    """The operation is done: a sentence for people, and how many things it changed."""

    summary: str
    changed: int
    projections: tuple[ProjectionStatus, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The operation was not done, and why."""

    reason: str


Report = Progress | Finished | Failed
"""Any number of `Progress`, then one of the others."""
