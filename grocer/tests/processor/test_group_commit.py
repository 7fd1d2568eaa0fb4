"""All who wait share one commit, and only what went wrong for all goes wrong for each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from threading import Event

import apsw
import pytest
from colonnade.world import real_world

from grocer.processor.group_commit import GroupCommit


class Refused(Exception):
    """An answer that says no."""


Work = Callable[[apsw.Connection], int]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    """A connection to a file with one table, `numbers`."""
    with closing(apsw.Connection(str(tmp_path / "numbers.sqlite3"))) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER UNIQUE) STRICT")
        yield connection


@pytest.fixture
def writer(connection: apsw.Connection) -> Iterator[GroupCommit]:
    """A writer on that connection."""
    with closing(GroupCommit(connection, Refused)) as writer:
        yield writer


def insert(number: int) -> Work:
    """Work that inserts a number and tells how many there are."""

    def work(connection: apsw.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return int(connection.execute("SELECT count(*) FROM numbers").get)

    return work


def refuse(_: apsw.Connection) -> int:
    """Work that is answered with a no."""
    raise Refused


@asynccontextmanager
async def occupied(writer: GroupCommit) -> AsyncIterator[None]:
    """While this lasts the writer is held up in a transaction, so that what is submitted shares the next one."""
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), Event()

    def wait(_: apsw.Connection) -> bool:
        loop.call_soon_threadsafe(begun.set)
        return go_on.wait(10)

    ahead = asyncio.create_task(writer.submit(wait))
    await begun.wait()
    try:
        yield
    finally:
        go_on.set()
        assert await ahead


async def together(writer: GroupCommit, *works: Work) -> list[int | BaseException]:
    """The results of works that share a transaction."""
    async with occupied(writer):
        waiting = [asyncio.create_task(writer.submit(work)) for work in works]
        await once_round()
    return await asyncio.gather(*waiting, return_exceptions=True)


async def once_round() -> None:
    """Let the loop go round once, so that every task made before has submitted its work."""
    await real_world().sleep(0)


def numbers(connection: apsw.Connection) -> list[int]:
    """What is in the table."""
    return [row[0] for row in connection.execute("SELECT number FROM numbers ORDER BY number")]


async def test_those_who_wait_share_a_commit(connection: apsw.Connection, writer: GroupCommit) -> None:
    """Twenty pieces of work behind a slow one are one transaction, and each gets its own result in order."""
    commits = 0

    def count() -> bool:
        nonlocal commits
        commits += 1
        return False

    connection.set_commit_hook(count)
    assert await together(writer, *map(insert, range(20))) == list(range(1, 21))
    connection.set_commit_hook(None)
    assert commits == 2  # the one that held the writer up, and the one of all twenty
    assert numbers(connection) == list(range(20))


async def test_an_answer_reaches_its_asker_alone(connection: apsw.Connection, writer: GroupCommit) -> None:
    """Who is refused is told so; the others are committed."""
    first, refused, second = await together(writer, insert(1), refuse, insert(2))
    assert (first, second) == (1, 2)
    assert isinstance(refused, Refused)
    assert numbers(connection) == [1, 2]


async def test_a_failure_undoes_everyone_and_tells_everyone(connection: apsw.Connection, writer: GroupCommit) -> None:
    """Nothing of a failed transaction stays, nobody in it believes otherwise, and the next one works."""
    results = await together(writer, insert(1), insert(2), insert(2))
    assert all(isinstance(result, apsw.ConstraintError) for result in results)
    assert numbers(connection) == []
    assert await writer.submit(insert(3)) == 1


async def test_cancelling_a_caller_does_not_cancel_its_work(connection: apsw.Connection, writer: GroupCommit) -> None:
    """Work that was submitted is done, and those who share its transaction notice nothing."""
    async with occupied(writer):
        impatient = asyncio.create_task(writer.submit(insert(1)))
        patient = asyncio.create_task(writer.submit(insert(2)))
        await once_round()
        impatient.cancel()
    assert await patient == 2
    assert impatient.cancelled()
    assert numbers(connection) == [1, 2]


async def test_closing_finishes_what_was_submitted(connection: apsw.Connection) -> None:
    """Nobody who was let in is forgotten at the end."""
    writer = GroupCommit(connection, Refused)
    waiting = [asyncio.create_task(writer.submit(insert(number))) for number in range(5)]
    await once_round()
    writer.close()
    assert await asyncio.gather(*waiting) == [1, 2, 3, 4, 5]
