"""What is known about an event beside its content."""

from datetime import datetime
from uuid import UUID

import msgspec

__all__ = ["Metadata"]


class Metadata(msgspec.Struct, frozen=True, gc=False):
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
