"""Opening a SQLite store: a new one, one beside its writer, and files that are none."""

import asyncio
import os
import sqlite3
import threading
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.persistence.failures import QueryFailed
from colonnade.persistence.sqlite import NewerStore, NotAStore, ReadOnlyStore, SqliteStore, open_sqlite_store
from colonnade.persistence.sqlite.opening import connect_to_write
from colonnade.persistence.unit import Append, NewEvent, Unit
from colonnade.world import real_world


async def opened(path: Path, *, read_only: bool = False) -> SqliteStore:
    """The store at `path`."""
    return await open_sqlite_store(path, real_world(), read_only=read_only)


async def append(store: SqliteStore, version: int = 0) -> None:
    """Add an event to a sale."""
    event = NewEvent(UUID(int=1), "shop.Sold", 1, b"x" * 1_000)
    await store.commit(Unit(1, UUID(int=1), effects=[Append("Sale/1", version, [event])]))


async def made(path: Path) -> Path:
    """A closed store that has an event."""
    store = await opened(path)
    await append(store)
    await store.close()
    return path


def names(folder: Path) -> list[str]:
    """The files in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_a_store_is_one_file_once_it_is_closed(tmp_path: Path) -> None:
    """The write-ahead log comes home, however the store was read; nobody but its owner may read the file."""
    path = tmp_path / "shop.sqlite3"
    store = await opened(path)
    await append(store)
    await store.query([("SELECT 1", ())] * 2)
    assert names(tmp_path) == ["shop.sqlite3", "shop.sqlite3-shm", "shop.sqlite3-wal"]
    await store.close()
    assert names(tmp_path) == ["shop.sqlite3"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_store_closes_though_queries_were_given_up(tmp_path: Path) -> None:
    """One whose caller was cancelled leaves nothing open behind."""
    store = await opened(tmp_path / "shop.sqlite3")
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    asking = [asyncio.ensure_future(store.query([(endless, ())])) for _ in range(5)]
    await asyncio.wait(asking, timeout=0.05)
    for each in asking:
        each.cancel()
    await store.close()
    await asyncio.wait(asking)
    assert names(tmp_path) == ["shop.sqlite3"]


@pytest.mark.parametrize("last", ["reader", "writer", "reader alone"])
async def test_a_reader_leaves_nothing_behind(tmp_path: Path, last: str) -> None:
    """Whether it goes before the writer, after it, or comes when there is none."""
    path = await made(tmp_path / "shop.sqlite3")
    writer = await opened(path) if last != "reader alone" else None
    reader = await opened(path, read_only=True)
    await reader.query([("SELECT 1", ())] * 2)
    assert await reader.log.end() == 1
    if writer is not None:
        await append(writer, 1)
        assert await reader.log.end() == 2
    for store in (reader, writer) if last == "writer" else (writer, reader):
        if store is not None:
            await store.close()
    assert names(tmp_path) == ["shop.sqlite3"]
    again = await opened(path)
    assert await again.log.end() == (1 if writer is None else 2)
    await again.close()


async def test_a_store_that_is_only_read_is_not_written(tmp_path: Path) -> None:
    """Units, leases, definitions, pruning and statements that write are refused, with what to do instead."""
    path = await made(tmp_path / "shop.sqlite3")
    reader = await opened(path, read_only=True)
    sentence = "was opened only to be read; open it for writing, or ask the process that has it"
    with pytest.raises(ReadOnlyStore, match=sentence):
        await append(reader, 1)
    with pytest.raises(ReadOnlyStore, match=sentence):
        await reader.leases.acquire("relay", "a", 1.0)
    with pytest.raises(ReadOnlyStore, match=sentence):
        await reader.define(["CREATE TABLE mine (a INTEGER)"])
    with pytest.raises(ReadOnlyStore, match=sentence):
        await reader.prune([], 1, 1)
    with pytest.raises(QueryFailed, match="readonly"):
        await reader.query([("DELETE FROM events", ())])
    assert (await reader.log.end(), await reader.inbox.unhandled()) == (1, 0)
    await reader.close()


async def test_a_file_that_may_not_be_written_is_read(tmp_path: Path) -> None:
    """Its events are shown; opening it for writing says why not."""
    path = await made(tmp_path / "shop.sqlite3")
    path.chmod(0o400)
    if os.access(path, os.W_OK):
        pytest.skip("root may write everything")
    with pytest.raises(NotAStore, match="Permission denied"):
        await opened(path)
    reader = await opened(path, read_only=True)
    assert await reader.log.end() == 1
    await reader.close()


async def test_a_missing_store_is_not_made_by_who_reads(tmp_path: Path) -> None:
    """Nor is one made where there is no directory."""
    with pytest.raises(FileNotFoundError, match="There is no store at"):
        await opened(tmp_path / "shop.sqlite3", read_only=True)
    assert names(tmp_path) == []
    with pytest.raises(NotAStore, match="its directory is missing; name another data directory, or restore it"):
        await opened(tmp_path / "absent" / "shop.sqlite3")


async def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """Another program's database is told from a store, and no byte of it changes."""
    path = tmp_path / "shop.sqlite3"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (a)")
    other.commit()
    other.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(NotAStore, match=r"shop\.sqlite3 cannot be used as a store: it was not made by Colonnade"):
            await opened(path, read_only=read_only)
    assert (path.read_bytes(), names(tmp_path)) == (before, ["shop.sqlite3"])


@pytest.mark.parametrize("content", [b"", b"A letter to my aunt. " * 500, b"SQLite format 3\0" + b"\0" * 5_000])
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, text or torn: with a sentence and unchanged."""
    path = tmp_path / "shop.sqlite3"
    path.write_bytes(content)
    with pytest.raises(NotAStore, match="cannot be used as a store"):
        await opened(path)
    assert (path.read_bytes(), names(tmp_path)) == (content, ["shop.sqlite3"])


async def test_a_directory_is_no_store(tmp_path: Path) -> None:
    """It says what is wrong with the path."""
    with pytest.raises(NotAStore, match="Is a directory"):
        await opened(tmp_path)


@pytest.mark.parametrize("kept", ["first page", "half"])
async def test_a_damaged_store_says_so(tmp_path: Path, kept: str) -> None:
    """A store of which parts are lost is refused, and the attempt leaves no thread and no file behind."""
    path = await made(tmp_path / "shop.sqlite3")
    content = path.read_bytes()
    keep = 4_096 if kept == "first page" else len(content) // 2
    path.write_bytes(content[:keep] + b"\xff" * (len(content) - keep))
    threads = threading.active_count()
    for read_only in (False, True):
        with pytest.raises(NotAStore, match="malformed"):
            await opened(path, read_only=read_only)
    assert threading.active_count() == threads
    # A file that nobody has open has neither of its companions
    assert names(tmp_path) == ["shop.sqlite3"]


async def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    """Its version and the newest known one are told, with what to do."""
    path = await made(tmp_path / "shop.sqlite3")
    connection = connect_to_write(path)
    known = connection.execute("PRAGMA user_version").get
    connection.execute(f"PRAGMA user_version = {known + 1}")
    connection.close()
    for read_only in (False, True):
        sentence = rf"has schema version {known + 1}, this code knows {known}; use the newer Colonnade"
        with pytest.raises(NewerStore, match=sentence) as raised:
            await opened(path, read_only=read_only)
        assert (raised.value.version, raised.value.known) == (known + 1, known)


async def test_a_log_without_its_database_is_not_taken_for_a_new_store(tmp_path: Path) -> None:
    """Where the file is gone but its write-ahead log is not, nothing is made in its place."""
    log = tmp_path / "shop.sqlite3-wal"
    log.write_bytes(b"commits of the store that is gone")
    with pytest.raises(NotAStore, match=r"its write-ahead log shop\.sqlite3-wal is there"):
        await opened(tmp_path / "shop.sqlite3")
    assert names(tmp_path) == ["shop.sqlite3-wal"]


async def test_what_a_broken_off_making_left_is_cleared_away(tmp_path: Path) -> None:
    """A store that was only half made is made anew."""
    (tmp_path / "shop.sqlite3.new").write_bytes(b"half")
    (tmp_path / "shop.sqlite3.new-journal").write_bytes(b"half")
    await made(tmp_path / "shop.sqlite3")
    assert names(tmp_path) == ["shop.sqlite3"]
