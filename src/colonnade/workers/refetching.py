"""What a broker lost, fetched again from where it came."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from colonnade.brokers.broker import Carried
from colonnade.persistence.store import OutboxRow, Store
from colonnade.persistence.unit import ChainId

__all__ = ["ChainEnd", "ends_of", "from_outbox"]

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


async def from_outbox(producer: Store, chain: ChainId, after: int, limit: int = PAGE_ROWS) -> Sequence[Carried]:
    """Up to `limit` messages of `chain`, beyond seq `after`, that its producer still has in its outbox, in order.

    The first follows `after` where that is certain. Where it may not be, because the broker had acknowledged more and
    what it has may have been pruned, its `prev` is the seq just before its own. Nothing comes from another history.
    """
    if producer.history != chain.history:
        return ()
    rows: list[OutboxRow] = []
    position = after
    while len(rows) < limit and (page := await producer.outbox.pending(position, PAGE_ROWS)):
        position = page[-1].seq
        rows.extend(row for row in page if (row.topic, row.partition) == (chain.topic, chain.partition))
    if not rows:
        return ()
    prev = after if await _nothing_pruned(producer, chain, after) else rows[0].seq - 1
    carried = []
    for row in rows[:limit]:
        carried.append(
            Carried(chain.source, chain.history, row.topic, row.partition, row.seq, prev, row.key, row.envelope)
        )
        prev = row.seq
    return carried


async def _nothing_pruned(producer: Store, chain: ChainId, after: int) -> bool:
    relayed = (await producer.outbox.relayed()).get((chain.topic, chain.partition), 0)
    if relayed <= after:
        return True
    # A chain is pruned from its beginning: while this message is there, so are those after it
    page = await producer.outbox.pending(after - 1, 1) if after else []
    return bool(page) and page[0].seq == after and (page[0].topic, page[0].partition) == (chain.topic, chain.partition)
