"""What is known about an event beside its content."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

__all__ = ["Metadata"]


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where, when and why an event was recorded.

    `position` orders the log of one service, `version` the events of one stream, both from 1. `correlation_id` is
    shared by all that follows from one request; `causation_id` is the message that this one follows from.
    """

    event_id: UUID
    stream: str
    version: int
    position: int
    time: datetime
    correlation_id: UUID
    causation_id: UUID | None
    principal: str | None
