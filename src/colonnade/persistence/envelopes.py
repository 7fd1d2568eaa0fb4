"""Puts messages into envelopes that hand on what they follow from."""

from datetime import datetime
from uuid import UUID

import msgspec

from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context

__all__ = ["enveloped"]


def enveloped(
    context: Context,
    *,
    id: UUID,
    source: str,
    type: str,
    subject: str,
    time: datetime,
    data: bytes,
    version: int = 1,
    not_after: datetime | None = None,
    reply_to: str | None = None,
    reply_key: str | None = None,
) -> bytes:
    """The encoded envelope around the message `data` of the stored name `type`, which follows from `context`.

    The other parameters are the fields of `Envelope`.
    """
    return Envelope(
        specversion="1.0",
        id=id,
        source=source,
        type=type,
        subject=subject,
        time=time,
        data=msgspec.Raw(data),
        dataversion=version,
        correlationid=context.correlation_id,
        causationid=context.causation_id,
        principal=context.principal,
        traceparent=context.traceparent,
        notafter=not_after,
        replyto=reply_to,
        replykey=reply_key,
        tenant=context.tenant,
    ).encode()
