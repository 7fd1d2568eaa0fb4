"""The broker's port: carries messages between services, in the order of their chains or not."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

import msgspec

__all__ = ["Broker", "BrokerUnavailable", "Carried", "Receiver", "Subscription", "Unreadable"]


class Carried(msgspec.Struct, frozen=True, gc=False):
    """One message on the broker: its place in its chain, its key and its envelope.

    `seq` is the position in the producer's outbox, `prev` the seq before it in this topic's partition; `history`
    identifies the producer's store, so that numbers of a restored one are not taken for those of the lost one.
    """

    source: str
    history: UUID
    topic: str
    partition: int
    seq: int
    prev: int
    key: str
    envelope: bytes


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """Bytes on the broker that are no message: where they lay, what is wrong, and the bytes."""

    origin: str
    reason: str
    data: bytes


class BrokerUnavailable(Exception):
    """The broker does not do what it is asked now; what was to be published stays in the outbox."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(broker, reason)
        self.broker, self.reason = broker, reason

    def __str__(self) -> str:
        return f"{self.broker} is not available: {self.reason}; messages stay in the outbox until it is."


Receiver = Callable[[Sequence[Carried | Unreadable]], Awaitable[None]]
"""Takes messages over: when it returns they are durable at the consumer and will not be asked for again."""


class Subscription(Protocol):
    """A consumer's interest in topics."""

    async def close(self) -> None:
        """Receive nothing more; what is being received is finished first."""


class Broker(Protocol):
    """Publishes durably and delivers at least once to every group; may lose, double and reorder."""

    async def publish(self, messages: Sequence[Carried]) -> None:
        """Return when every message is durable at the broker or at all of its consumers; else raise."""

    async def subscribe(self, group: str, topics: Sequence[str], receive: Receiver) -> Subscription:
        """Hand the messages of `topics` to `receive`, once for the whole `group` of instances."""

    async def close(self) -> None:
        """Stop delivering and let go of connections."""
