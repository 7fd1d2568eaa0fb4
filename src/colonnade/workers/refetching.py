"""What a broker lost, fetched again from where it came."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from colonnade.brokers.broker import Carried
from colonnade.persistence.store import Store
from colonnade.persistence.unit import ChainId

__all__ = ["ChainEnd", "Obstacle", "Refetch", "Refetched", "ends_of", "from_outbox"]

PAGE_ROWS = 256


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The seq up to which a broker has acknowledged a chain; `kept` tells that its producer still has that message."""

    chain: ChainId
    seq: int
    kept: bool


async def ends_of(producer: Store, source: str, topics: Collection[str]) -> Sequence[ChainEnd]:
    """How far `producer`, the store of the service `source`, has published each of its chains to `topics`."""
    return [
        ChainEnd(ChainId(source, producer.history, topic, partition), seq, kept)
        for topic, partition, seq, kept in await producer.outbox.ends(topics)
    ]


class Obstacle(StrEnum):
    """Why a producer does not give what comes after a seq."""

    PRUNED = "pruned"
    """It had it, and has deleted it since."""
    OTHER_HISTORY = "other history"
    """Its store is another one than that which the message came from."""
    AWAY = "away"
    """It cannot be asked at present."""


class Refetched(msgspec.Struct, frozen=True):
    """Messages of a chain beyond a seq, in order; with no obstacle the first of them follows it.

    Up to the seq `pruned` none is there any more, where some beyond that seq are not.
    """

    messages: Sequence[Carried] = ()
    obstacle: Obstacle | None = None
    pruned: int | None = None


Refetch = Callable[[ChainId, int], Awaitable[Refetched]]
"""Fetches from the producer of a chain what comes after a seq."""


async def from_outbox(producer: Store, chain: ChainId, after: int, limit: int = PAGE_ROWS) -> Refetched:
    """Up to `limit` messages of `chain`, beyond the seq `after`, that its producer keeps in its outbox.

    Where some beyond `after` have been pruned the first follows the last of those.
    """
    if producer.history != chain.history:
        return Refetched(obstacle=Obstacle.OTHER_HISTORY)
    page = await producer.outbox.of_chain(chain.topic, chain.partition, after, limit)
    prev = max(after, page.pruned)
    carried = []
    for row in page.rows:
        if row.seq > prev:
            carried.append(
                Carried(chain.source, chain.history, row.topic, row.partition, row.seq, prev, row.key, row.envelope)
            )
            prev = row.seq
    if page.pruned > after:
        return Refetched(carried, Obstacle.PRUNED, page.pruned)
    return Refetched(carried)
