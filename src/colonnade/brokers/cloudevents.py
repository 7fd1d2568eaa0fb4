"""Messages on the wire: CloudEvents 1.0 in structured mode, the same bytes for every broker.

The envelope is a CloudEvent in JSON already. Its place in its chain is added to it as extension attributes, so that the
message needs no headers, whose reading costs a client more than all the rest. The W3C trace context is in the envelope.
"""

from uuid import UUID

import msgspec

from colonnade.brokers.broker import Carried, Unreadable
from colonnade.messages.undecodable import UNDECODABLE

__all__ = ["CONTENT_TYPE", "carried_of", "event_of"]

CONTENT_TYPE = "application/cloudevents+json"


class _Chain(msgspec.Struct, frozen=True, gc=False):
    """The extension attributes, and where the event comes from."""

    source: str
    partitionkey: str
    chainhistory: UUID
    chainpartition: int
    chainseq: int
    chainprev: int


_decode = msgspec.json.Decoder(_Chain).decode
_ADDED = b',"partitionkey":'
_text = msgspec.json.Encoder().encode


def event_of(message: Carried) -> bytes:
    """`message` as a CloudEvent."""
    return b'%b%b%b,"chainhistory":"%b","chainpartition":%d,"chainseq":%d,"chainprev":%d}' % (
        message.envelope.rstrip()[:-1],
        _ADDED,
        _text(message.key),
        str(message.history).encode(),
        message.partition,
        message.seq,
        message.prev,
    )


def carried_of(topic: str, event: bytes, origin: str) -> Carried | Unreadable:
    """The message in `event`, its envelope as it was; what is none is told by where it came from, `origin`."""
    try:
        chain = _decode(event)
    except UNDECODABLE as error:
        return Unreadable(origin, str(error), event)
    added = event.rfind(_ADDED)
    return Carried(
        chain.source,
        chain.chainhistory,
        topic,
        chain.chainpartition,
        chain.chainseq,
        chain.chainprev,
        chain.partitionkey,
        event[:added] + b"}" if added > 0 else event,  # another producer's attributes may stand in any order
    )
