"""What a broker brings is prepared while what came before it is being committed."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.sqlite import SqliteStore
from colonnade.persistence.store import Committed
from colonnade.persistence.unit import Defer, Receive, Unit
from tests.workers.counter import a_counter, sold
from tests.workers.door import Door, a_door, bodies, carried
from tests.workers.hands import WITHIN_SECONDS


class Slow:
    """Lets the commits of a store come to an end, or fail, one by one; they are decided in their order."""

    def __init__(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self._commit = store.commit
        self.waiting: list[asyncio.Future[bool]] = []
        self._came = asyncio.Event()
        monkeypatch.setattr(store, "commit", self.commit)

    async def commit(self, unit: Unit) -> Committed:
        """Commit `unit` when the test says so."""
        if not any(isinstance(effect, Receive) for effect in unit.effects):
            return await self._commit(unit)
        word: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting.append(word)
        self._came.set()
        if not await word:
            raise StoreFailed("ordering", "the disk is full")
        return await self._commit(unit)

    async def until(self, count: int) -> None:
        """Wait for so many commits."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(self.waiting) < count:
                self._came.clear()
                await self._came.wait()


async def known(door: Door) -> None:
    """Let the door read how far its chains have come."""
    await door.receive(carried(1))


async def test_the_next_goes_on_where_the_one_before_it_will_have_come_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is handed to the store while the other's commit is open, and both are durable when they return."""
    async with a_door(tmp_path) as door:
        await known(door)
        slow = Slow(door.store, monkeypatch)
        first = asyncio.ensure_future(door.receive(carried(2)))
        await slow.until(1)
        second = asyncio.ensure_future(door.receive(carried(3)))
        await slow.until(2)
        for word in slow.waiting:
            word.set_result(True)
        await asyncio.gather(first, second)
        assert len(slow.waiting) == 2
        assert await door.mark() == 3
        assert await door.handled() == bodies(1, 2, 3)


async def test_when_the_one_before_it_comes_to_nothing_the_next_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept as one that came early, and ready when the other comes again."""
    async with a_door(tmp_path) as door:
        await known(door)
        slow = Slow(door.store, monkeypatch)
        first = asyncio.ensure_future(door.receive(carried(2)))
        await slow.until(1)
        second = asyncio.ensure_future(door.receive(carried(3)))
        await slow.until(2)
        slow.waiting[0].set_result(False)
        with pytest.raises(StoreFailed):
            await first
        slow.waiting[1].set_result(True)  # whose mark is not where it expects it
        await slow.until(3)
        slow.waiting[2].set_result(True)
        await second
        assert await door.mark() == 1
        monkeypatch.undo()
        await door.receive(carried(2))
        assert await door.mark() == 3
        assert await door.handled() == bodies(1, 2, 3)


async def test_who_has_to_read_the_marks_waits_until_those_handed_over_are_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark that is about to move would be read for nothing."""
    async with a_door(tmp_path) as door:
        await known(door)
        slow = Slow(door.store, monkeypatch)
        first = asyncio.ensure_future(door.receive(carried(2)))
        await slow.until(1)
        door.inbox.forget()
        second = asyncio.ensure_future(door.receive(carried(3)))
        await asyncio.sleep(0.05)
        assert len(slow.waiting) == 1
        slow.waiting[0].set_result(True)
        await slow.until(2)
        slow.waiting[1].set_result(True)
        await asyncio.gather(first, second)
        assert await door.handled() == bodies(1, 2, 3)


async def test_what_leaves_something_to_look_for_is_committed_before_the_next_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who settles what was deferred just before would look for it in the store in vain."""
    async with a_counter(tmp_path) as counter:
        await counter.inbox.receive([sold(1, "z")])
        counter.clerk.sends["a"] = [Defer("order 7", "shop", "Saga|7|pay|do|1")]
        slow = Slow(counter.store, monkeypatch)
        first = asyncio.ensure_future(counter.inbox.receive([sold(2, "a")]))
        await slow.until(1)
        second = asyncio.ensure_future(counter.inbox.receive([sold(3, "b")]))
        await asyncio.sleep(0.05)
        assert counter.clerk.tried == ["1", "2"]
        slow.waiting[0].set_result(True)
        await slow.until(2)
        slow.waiting[1].set_result(True)
        await asyncio.gather(first, second)
        assert counter.clerk.tried == ["1", "2", "3"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["taken", "failed", "cancelled"]), min_size=2, max_size=8))
def test_whatever_becomes_of_each_batch_all_are_handled_once_and_in_order(fates: list[str]) -> None:
    """Batches beside each other, each taken, failed or cancelled at first and brought again as a broker does."""

    async def play(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            async with a_door(folder) as door:
                await known(door)
                committing = door.store.commit
                failing = {seq for seq, fate in enumerate(fates, 2) if fate == "failed"}

                async def commit(unit: Unit) -> Committed:
                    for effect in unit.effects:
                        if isinstance(effect, Receive) and (gone := failing & {each.seq for each in effect.messages}):
                            failing.difference_update(gone)
                            raise StoreFailed("ordering", "the disk is full")
                    return await committing(unit)

                monkeypatch.setattr(door.store, "commit", commit)

                async def bring(seq: int, fate: str) -> None:
                    if fate == "cancelled":
                        trying = asyncio.ensure_future(door.receive(carried(seq)))
                        await asyncio.sleep(0)
                        await asyncio.sleep(0)
                        trying.cancel()
                        await asyncio.wait([trying])
                    while True:
                        try:
                            return await door.receive(carried(seq))
                        except StoreFailed:
                            continue

                await asyncio.gather(*(bring(seq, fate) for seq, fate in enumerate(fates, 2)))
                await door.inbox.tend()
                last = len(fates) + 1
                assert await door.mark() == last
                assert await door.handled() == bodies(*range(1, last + 1))

    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))
