"""What follows from one request: its correlation id, its cause, its caller and its deadline."""

from contextvars import ContextVar
from uuid import UUID

import msgspec

__all__ = ["Context", "current_context"]


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a message or request brings with it and hands on to all that follows from it.

    `causation_id` is the message or request being handled; `traceparent` the W3C trace context;
    `deadline` the monotonic second after which nobody waits for the answer any more.
    """

    correlation_id: UUID
    causation_id: UUID | None = None
    principal: str | None = None
    traceparent: str | None = None
    deadline: float | None = None


current_context: ContextVar[Context] = ContextVar("colonnade.context")
