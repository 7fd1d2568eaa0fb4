"""What follows from one request: its correlation id, its cause, its caller and its deadline."""

from contextvars import ContextVar
from uuid import UUID

import msgspec

__all__ = ["Context", "current_context", "current_tenant"]


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a message or request brings with it and hands on to all that follows from it.

    `causation_id` is the message or request being handled; `traceparent` the W3C trace context;
    `deadline` the monotonic second after which nobody waits for the answer any more; `tenant`
    whose system it is, where that has tenants.
    """

    correlation_id: UUID
    causation_id: UUID | None = None
    principal: str | None = None
    traceparent: str | None = None
    deadline: float | None = None
    tenant: str | None = None


current_context: ContextVar[Context] = ContextVar("colonnade.context")

current_tenant: ContextVar[str | None] = ContextVar("colonnade.tenant", default=None)
"""Whose work in the background this is, for the lines of its log; what follows from a request has a `Context`."""
