"""Messages on the wire: CloudEvents 1.0 in structured mode, the same bytes for every broker.

The envelope is a CloudEvent in JSON already. Its place in its chain is added to it as extension attributes, so that the
message needs no headers, whose reading costs a client more than all the rest. The W3C trace context is in the envelope.
"""

from typing import Annotated
from uuid import UUID

import msgspec

from colonnade.brokers.broker import Carried, Unreadable
from colonnade.messages.undecodable import UNDECODABLE
from colonnade.world import text_of

__all__ = ["CONTENT_TYPE", "carried_of", "event_of"]

CONTENT_TYPE = "application/cloudevents+json"


_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Partition = Annotated[int, msgspec.Meta(ge=0, le=(1 << 15) - 1)]


class _Chain(msgspec.Struct, frozen=True, gc=False):
    """The extension attributes, and where the event comes from."""

    source: str
    partitionkey: str
    chainhistory: UUID
    chainpartition: _Partition
    chainseq: _Number
    chainprev: _Number

    def __post_init__(self) -> None:
        if self.chainprev >= self.chainseq:
            raise ValueError("chainprev is not below chainseq")
        if "\0" in self.source or "\0" in self.partitionkey:  # no store would take them
            raise ValueError("there is a NUL in its source or partitionkey")


_decode = msgspec.json.Decoder(_Chain).decode
_text = msgspec.json.Encoder().encode


def event_of(message: Carried) -> bytes:
    """`message` as a CloudEvent."""
    added = _added(message.key, message.history, message.partition, message.seq, message.prev)
    return message.envelope.rstrip()[:-1] + added


def carried_of(topic: str, event: bytes, origin: str) -> Carried | Unreadable:
    """The message in `event`, its envelope as it was; what is none is told by where it came from, `origin`."""
    try:
        chain = _decode(event)
    except UNDECODABLE as error:
        return Unreadable(origin, str(error), event)
    key, history, partition = chain.partitionkey, chain.chainhistory, chain.chainpartition
    seq, prev = chain.chainseq, chain.chainprev
    added = _added(key, history, partition, seq, prev)
    # Another producer's attributes may stand in any order: all of its event is the envelope, whose reader skips them
    envelope = event[: -len(added)] + b"}" if event.endswith(added) else event
    return Carried(chain.source, history, topic, partition, seq, prev, key, envelope)


def _added(key: str, history: UUID, partition: int, seq: int, prev: int) -> bytes:
    return b',"partitionkey":%b,"chainhistory":"%b","chainpartition":%d,"chainseq":%d,"chainprev":%d}' % (
        _text(key),
        text_of(history).encode(),
        partition,
        seq,
        prev,
    )
