"""The envelope around a message between services (CloudEvents 1.0, JSON format, with extension attributes)."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from colonnade.messages.undecodable import UNDECODABLE

__all__ = ["Envelope", "MalformedEnvelope"]


class MalformedEnvelope(ValueError):
    """Bytes that are not an envelope."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The bytes are not a CloudEvents 1.0 message: {self.reason}."


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message on its way from one service to another.

    `type` is the message's stored name and `dataversion` the version of its schema; `subject` is the key, within
    which order is kept; `source` the service that sent it and `time` when it did, or for a command that was to wait,
    when it was due. `notafter` is the moment after which a command is refused. `replyto` is the service that waits for
    the outcome of a command and `replykey` its word for the question. `tenant` is whose it is, where the system has
    tenants.
    """

    specversion: str
    id: UUID
    source: str
    type: str
    subject: str
    time: Moment
    data: msgspec.Raw
    datacontenttype: str = "application/json"
    dataversion: int = 1
    correlationid: UUID
    causationid: UUID | None = None
    principal: str | None = None
    traceparent: str | None = None
    notafter: Moment | None = None
    replyto: str | None = None
    replykey: str | None = None
    tenant: str | None = None

    def encode(self) -> bytes:
        """The envelope as JSON."""
        return _ENCODER.encode(self)

    @staticmethod
    def decode(raw: bytes) -> "Envelope":
        """The envelope in `raw`; raises `MalformedEnvelope`."""
        try:
            return _DECODER.decode(raw)
        except UNDECODABLE as error:
            raise MalformedEnvelope(str(error)) from error


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Envelope)
