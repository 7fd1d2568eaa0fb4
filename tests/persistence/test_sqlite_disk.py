"""A disk that is full in the middle of a batch: who is told what."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.persistence.executor import ThreadExecutor
from colonnade.persistence.failures import StoreFailed, WriteFailed
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.sqlite.opening import connect_to_write
from colonnade.persistence.sqlite.transactions import Transactions
from colonnade.persistence.sqlite.writer import SqliteWriter
from colonnade.persistence.store import Committed
from colonnade.persistence.unit import Append, NewEvent, Unit
from colonnade.world import real_world


@pytest.fixture
async def transactions(tmp_path: Path) -> AsyncIterator[Transactions]:
    """The write transactions of a new store."""
    path = tmp_path / "shop.sqlite3"
    await (await open_sqlite_store(path, real_world())).close()
    opened = Transactions(connect_to_write(path), path, ThreadExecutor("store shop"))
    yield opened
    await opened.close()


def unit(stream: str, size: int, principal: str | None = None) -> Unit:
    """A unit that appends an event of so many bytes."""
    event = NewEvent(UUID(int=1), "shop.Sold", 1, b"x" * size)
    return Unit(1, UUID(int=1), principal=principal, effects=[Append(stream, 0, [event])])


def streams(transactions: Transactions) -> list[str]:
    """The streams that are there."""
    return [stream for (stream,) in transactions.connection.execute("SELECT stream FROM events ORDER BY position")]


def fill(transactions: Transactions, pages: int) -> None:
    """Leave room for so many pages; 0 for as many as there may be."""
    run = transactions.connection.execute
    room = run("PRAGMA page_count").get + pages if pages else 1 << 30
    run(f"PRAGMA max_page_count = {room}").fetchall()


async def test_a_full_disk_is_told_and_keeps_nothing(transactions: Transactions) -> None:
    """The whole batch fails with the disk's own words; with room again, the same units are committed."""
    writer = SqliteWriter(transactions, 8)
    fill(transactions, 2)
    batch = [unit("Sale/1", 10), unit("Sale/2", 100_000)]
    with pytest.raises(StoreFailed, match=r"shop\.sqlite3 failed: FullError"):
        await writer.write(batch)
    assert streams(transactions) == []
    fill(transactions, 0)
    assert [type(result) for result in (await writer.write(batch)).results] == [Committed] * 2
    assert streams(transactions) == ["Sale/1", "Sale/2"]


async def test_units_written_one_by_one_are_told_what_became_of_each(transactions: Transactions) -> None:
    """When a batch had to be parted, a disk that is full at its third unit makes none of the first two a failure."""
    writer = SqliteWriter(transactions, 8)
    fill(transactions, 6)
    batch = [unit("Sale/1", 10), unit("Sale/2", 10, principal="\ud800"), unit("Sale/3", 100_000), unit("Sale/4", 10)]
    written = await writer.write(batch)
    assert [type(result) for result in written.results] == [Committed, WriteFailed, StoreFailed, Committed]
    assert streams(transactions) == ["Sale/1", "Sale/4"]


async def test_a_turn_is_waited_for(transactions: Transactions) -> None:
    """Transactions asked for at the same time follow each other, in the order in which they were asked for."""
    order: list[int] = []
    await asyncio.gather(*(transactions.run(partial(order.append, number)) for number in range(20)))
    assert order == list(range(20))
