"""What is read often reads little: counted in steps of SQLite's machine, whatever else lies in the store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.persistence.sqlite import SqliteStore, open_sqlite_store
from colonnade.persistence.sqlite.log import SqliteLog
from colonnade.persistence.sqlite.opening import connect_to_read
from colonnade.persistence.sqlite.outbox import SqliteOutbox
from colonnade.persistence.sqlite.queries import SqliteQueries
from colonnade.persistence.sqlite.rows import Pages, SqliteInbox, SqliteTimers
from colonnade.persistence.unit import Append, ArmTimer, Deliver, Effect, NewEvent, Park, Publish, Retry, Unit
from colonnade.world import real_world

MANY = 10_000
TILL = "subscriber:Till"
NOW = 1_000


class Reading:
    """A connection to a store that counts its steps."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_to_read(path)
        pages = Pages(self._connection, path)
        self.log, self.inbox = SqliteLog(pages), SqliteInbox(pages, None)
        self.outbox, self.timers = SqliteOutbox(pages, SqliteQueries(path)), SqliteTimers(pages)
        self._steps = 0

    async def steps(self, read: Callable[["Reading"], Awaitable[object]]) -> int:
        """How many steps `read` takes."""
        await read(self)  # compiles its statements, which reads the schema
        self._steps = 0
        self._connection.set_progress_handler(self._count, 1)
        await read(self)
        self._connection.set_progress_handler(None)
        return self._steps

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _count(self) -> bool:
        self._steps += 1
        return False


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty store."""
    store = await open_sqlite_store(tmp_path / "shop.sqlite3", real_world())
    yield store
    await store.close()


async def commit(store: SqliteStore, *effects: Effect) -> None:
    """Commit a unit of these effects."""
    await store.commit(Unit(NOW, UUID(int=1), effects=list(effects)))


async def a_little(store: SqliteStore) -> None:
    """Three messages that are due, three events of a rare kind, three timers, three messages on their way out."""
    for number in range(3):
        await commit(
            store,
            Deliver(TILL, f"few/{number}", b"{}"),
            append(f"Few/{number}", "shop.Rare"),
            ArmTimer(f"few/{number}", NOW, Deliver(TILL, "a", b"{}")),
            Publish("shop.events", "a", UUID(int=number), b"{}"),
        )


def append(stream: str, *names: str) -> Append:
    """A new stream of these events."""
    return Append(stream, 0, [NewEvent(UUID(int=number), name, 1, b"{}") for number, name in enumerate(names)])


async def behind_a_held_key(store: SqliteStore) -> None:
    """One key is held by a parked message; the rest waits behind it."""
    await commit(store, Deliver(TILL, "held", b"{}"))
    message = next(each for each in await store.inbox.due(NOW, 10) if each.key == "held")
    await commit(store, Park(message.row, 1, "poison", hold=True))
    await commit(store, *(Deliver(TILL, "held", b"{}") for _ in range(MANY)))


async def held_keys(store: SqliteStore) -> None:
    """Each key is held by its own parked message."""
    await commit(store, *(Deliver(TILL, f"held/{number}", b"{}") for number in range(MANY)))
    rows = [message.row for message in await store.inbox.due(NOW, MANY + 10) if message.key.startswith("held")]
    await commit(store, *(Park(row, 1, "poison", hold=True) for row in rows))


async def keys_that_wait_for_later(store: SqliteStore) -> None:
    """Each key's first message has failed, and is tried again later."""
    await commit(store, *(Deliver(TILL, f"later/{number}", b"{}") for number in range(MANY)))
    rows = [message.row for message in await store.inbox.due(NOW, MANY + 10) if message.key.startswith("later")]
    await commit(store, *(Retry(row, 1, NOW + 1, "failed") for row in rows))


async def keys_that_are_due(store: SqliteStore) -> None:
    """More is due than anybody asks for."""
    await commit(store, *(Deliver(TILL, f"due/{number}", b"{}") for number in range(MANY)))


async def steps_of_reading_the_inbox(path: Path) -> list[int]:
    """The steps of all that workers ask the inbox again and again."""
    reads: list[Callable[[Reading], Awaitable[object]]] = [
        lambda reading: reading.inbox.due(NOW, 3),
        lambda reading: reading.inbox.due(NOW, 3, consumer=TILL),
        lambda reading: reading.inbox.due(NOW, 3, consumer=TILL, which="newest"),
        lambda reading: reading.inbox.due(NOW, 3, consumer=TILL, which="again"),
        lambda reading: reading.inbox.consumers(),
        lambda reading: reading.inbox.next_due_after(NOW),
    ]
    reading = Reading(path)
    try:
        return [await reading.steps(read) for read in reads]
    finally:
        reading.close()


@pytest.mark.parametrize("crowd", [behind_a_held_key, held_keys, keys_that_wait_for_later, keys_that_are_due])
async def test_looking_for_work_is_as_short_with_ten_thousand_messages_more(
    store: SqliteStore, crowd: Callable[[SqliteStore], Awaitable[None]]
) -> None:
    """Held, waiting for later or due: workers find the first ones in as many steps as without them."""
    await a_little(store)
    before = await steps_of_reading_the_inbox(store.path)
    await crowd(store)
    after = await steps_of_reading_the_inbox(store.path)
    # A few steps more where there is one more consumer, moment or key to look at
    assert [more for more, few in zip(after, before, strict=True) if more > few + 40] == []


async def test_pages_are_short_however_long_the_log_is(store: SqliteStore) -> None:
    """A stream, events of a rare name, a category, the end, timers and the outbox do not read what is not asked for."""
    await a_little(store)
    reads: list[Callable[[Reading], Awaitable[object]]] = [
        lambda reading: reading.log.load(["Few/1", "Few/2"], snapshots=True),
        lambda reading: reading.log.stream("Few/1", 0, 3),
        lambda reading: reading.log.read(0, 3, ["shop.Rare", "shop.Never"]),
        lambda reading: reading.log.read(0, 3),
        lambda reading: reading.log.streams("Few", "", 3),
        lambda reading: reading.log.end(),
        lambda reading: reading.timers.due(NOW, 3),
        lambda reading: reading.timers.next_due(),
        lambda reading: reading.outbox.pending(0, 3),
    ]
    reading = Reading(store.path)
    before = [await reading.steps(read) for read in reads]
    await commit(
        store,
        append("Common/1", *["shop.Common"] * MANY),
        *(append(f"Common{number}/1", "shop.Common") for number in range(MANY)),
        *(ArmTimer(f"later/{number}", NOW + 1, Deliver(TILL, "a", b"{}")) for number in range(MANY)),
        *(Publish("shop.events", "a", UUID(int=number), b"{}") for number in range(MANY)),
    )
    after = [await reading.steps(read) for read in reads]
    reading.close()
    assert [more for more, few in zip(after, before, strict=True) if more > few + 40] == []
