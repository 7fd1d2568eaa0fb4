"""The log: streams without holes, one order for all readers, short pages."""

import asyncio
from uuid import UUID

import pytest

from colonnade.persistence.failures import VersionConflict
from colonnade.persistence.store import Committed
from colonnade.persistence.unit import Append, Expect, NewEvent, Snapshot
from colonnade.testing.conformance.store.database import NOW, WORLD, StoreSuite, append, commit, unit

__all__ = ["LogSuite"]


class LogSuite(StoreSuite):
    """Events in, events out."""

    async def test_an_event_keeps_all_that_was_said_of_it(self) -> None:
        """Content, schema version, time, correlation, causation and principal come back as they were."""
        async with self.store() as store:
            event = NewEvent(UUID(int=(1 << 128) - 1), "shöp.Sold", 7, '{"name":"Käse","\x7f":[1]}'.encode())
            await commit(
                store,
                Append("Sale/ü", 0, [event]),
                time=NOW + 1,
                correlation_id=UUID(int=5),
                causation_id=UUID(int=6),
                principal="ann",
            )
            (stored,) = await store.log.stream("Sale/ü")
            assert (stored.stream, stored.version, stored.position > 0) == ("Sale/ü", 1, True)
            assert NewEvent(stored.id, stored.name, stored.schema, stored.data) == event
            assert (stored.time, stored.correlation_id, stored.causation_id) == (NOW + 1, UUID(int=5), UUID(int=6))
            assert stored.principal == "ann"
            await commit(store, append("Sale/2", 0))
            (stored,) = await store.log.stream("Sale/2")
            assert (stored.causation_id, stored.principal) == (None, None)

    @pytest.mark.parametrize("expected", [0, 1, 3, 4])
    async def test_an_append_at_another_version_is_a_conflict(self, expected: int) -> None:
        """Too low or too high, it is refused with the stream, what was expected and what is there."""
        async with self.store() as store:
            await commit(store, append("Sale/1", 0, "shop.A", "shop.B"))
            with pytest.raises(VersionConflict) as raised:
                await commit(store, append("Sale/1", expected))
            error = raised.value
            assert (error.stream, error.expected, error.actual) == ("Sale/1", expected, 2)
            assert [event.version for event in await store.log.stream("Sale/1")] == [1, 2]

    @pytest.mark.parametrize("expected", [0, 1, 3])
    async def test_a_unit_may_depend_on_a_stream_that_it_does_not_write(self, expected: int) -> None:
        """Where the stream has moved it is a conflict, and nothing of the unit is kept; else it changes nothing."""
        async with self.store() as store:
            await commit(store, append("Sale/1", 0, "shop.A", "shop.B"))
            with pytest.raises(VersionConflict) as raised:
                await commit(store, append("Sale/2", 0), Expect("Sale/1", expected))
            error = raised.value
            assert (error.stream, error.expected, error.actual) == ("Sale/1", expected, 2)
            assert await store.log.stream("Sale/2") == []
            await commit(store, Expect("Sale/1", 2), Expect("Sale/2", 0), append("Sale/3", 0))
            assert await store.log.streams("Sale") == ["Sale/1", "Sale/3"]

    async def test_of_many_at_once_one_wins_each_version(self) -> None:
        """Appends at the same version, committed at the same time: one wins, the others are told of it."""
        async with self.store() as store:
            for version in range(3):
                results = await asyncio.gather(
                    *(commit(store, append("Sale/1", version)) for _ in range(20)), return_exceptions=True
                )
                assert sum(isinstance(result, Committed) for result in results) == 1
                assert sum(isinstance(result, VersionConflict) for result in results) == 19
            assert [event.version for event in await store.log.stream("Sale/1")] == [1, 2, 3]

    async def test_one_unit_appends_twice_to_a_stream(self) -> None:
        """The second append of a unit counts from where its first ends."""
        async with self.store() as store:
            await commit(store, append("Sale/1", 0, "shop.A", "shop.B"), append("Sale/1", 2))
            assert [event.version for event in await store.log.stream("Sale/1")] == [1, 2, 3]

    async def test_positions_are_the_order_of_commits(self) -> None:
        """Who commits later has higher positions, and is told the last of its own."""
        async with self.store() as store:
            first = await commit(store, append("Sale/1", 0, "shop.A", "shop.B"))
            second = await commit(store, append("Sale/2", 0))
            events = await store.log.read()
            assert [event.stream for event in events] == ["Sale/1", "Sale/1", "Sale/2"]
            positions = [event.position for event in events]
            assert positions == sorted(set(positions))
            assert (first.position, second.position) == (positions[1], positions[2])
            assert await store.log.end() == positions[2]
            assert (await store.commit(unit())).position == positions[2]

    async def test_readers_who_go_on_from_page_to_page_see_every_event(self) -> None:
        """Pages of any size, while others append, are the log without a hole and without a double."""
        async with self.store() as store:

            async def write(stream: int) -> None:
                for version in range(10):
                    await commit(store, append(f"Sale/{stream}", version))

            async def read() -> list[tuple[str, int]]:
                seen: list[tuple[str, int]] = []
                after = 0
                while len(seen) < 80:
                    page = await store.log.read(after, 7)
                    assert len(page) <= 7
                    seen += [(event.stream, event.version) for event in page]
                    after = page[-1].position if page else after
                    await WORLD.sleep(0)
                return seen

            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                readers = [group.create_task(read()) for _ in range(2)]
                for stream in range(8):
                    group.create_task(write(stream))
            for reader in readers:
                seen = reader.result()
                assert len(set(seen)) == len(seen) == 80
                for stream in range(8):
                    assert [version for name, version in seen if name == f"Sale/{stream}"] == list(range(1, 11))

    async def test_events_are_read_by_name(self) -> None:
        """Of the names asked for, in the order of the log, from a position on; of no names, none."""
        async with self.store() as store:
            await commit(store, append("Sale/1", 0, "shop.A", "shop.B", "shop.C", "shop.A"))
            found = await store.log.read(0, 10, ["shop.A", "shop.C", "shop.Unknown"])
            assert [event.name for event in found] == ["shop.A", "shop.C", "shop.A"]
            assert [event.name for event in await store.log.read(found[0].position, 1, ["shop.A"])] == ["shop.A"]
            assert len(await store.log.read(0, 10, ["shop.A", "shop.A"])) == 2
            assert await store.log.read(0, 10, []) == []

    async def test_a_page_tells_how_far_the_log_goes(self) -> None:
        """All events of the names up to its end, or as many as were asked for; beyond it there are none."""
        async with self.store() as store:
            assert await store.log.page(0, 10, ["shop.Paid"]) == (0, [])
            await commit(store, append("Sale/1", 0, "shop.Sold", "shop.Paid", "shop.Sold", "shop.Paid", "shop.Sold"))
            sold, paid = await store.log.read(0, 10, ["shop.Sold"]), await store.log.read(0, 10, ["shop.Paid"])
            end = sold[-1].position
            assert await store.log.page(0, 10, ["shop.Paid"]) == (end, paid)
            assert await store.log.page(0, 2, ["shop.Sold", "shop.Paid"]) == (end, [sold[0], paid[0]])
            assert await store.log.page(paid[0].position, 10, ["shop.Sold", "shop.Paid"]) == (
                end,
                [sold[1], paid[1], sold[2]],
            )
            assert await store.log.page(paid[1].position, 10, ["shop.Paid"]) == (end, [])
            assert await store.log.page(end, 10, ["shop.Sold"]) == (end, [])

    async def test_a_stream_is_read_from_a_version_on(self) -> None:
        """Pages of one stream, whatever else is in the log."""
        async with self.store() as store:
            await commit(store, append("Sale/1", 0, *["shop.A"] * 5), append("Sale/11", 0))
            assert [event.version for event in await store.log.stream("Sale/1", 2, 2)] == [3, 4]
            assert await store.log.stream("Sale/1", 5) == []
            assert await store.log.stream("Sale/2") == []

    async def test_the_streams_of_a_category_are_listed_in_order(self) -> None:
        """Page by page, and no stream of a category whose name begins the same way."""
        async with self.store() as store:
            names = ["Sale/a", "Sale/b", "Sale/c", "Sale0/x", "Sale-/y", "Sales/z"]
            await commit(store, *(append(name, 0) for name in names))
            assert await store.log.streams("Sale") == ["Sale/a", "Sale/b", "Sale/c"]
            assert await store.log.streams("Sale", "Sale/a", 1) == ["Sale/b"]

    async def test_aggregates_load_from_their_newest_snapshot(self) -> None:
        """Each stream asked for: its snapshot and the events after it, or all its events without snapshots."""
        async with self.store() as store:
            await commit(store, append("Sale/1", 0, "shop.A", "shop.B"), Snapshot("Sale/1", 2, 3, b"{}"))
            await commit(store, append("Sale/1", 2, "shop.C"), append("Sale/2", 0))
            await commit(store, Snapshot("Sale/1", 1, 3, b'"older"'))
            first, none, second = await store.log.load(["Sale/1", "Sale/0", "Sale/2"], snapshots=True)
            assert first.snapshot == Snapshot("Sale/1", 2, 3, b"{}")
            assert list(first.events) == [("shop.C", 1, b'{"number":0}')]
            assert (none.snapshot, list(none.events)) == (None, [])
            assert (second.snapshot, len(second.events)) == (None, 1)
            (whole,) = await store.log.load(["Sale/1"], snapshots=False)
            assert [name for name, _, _ in whole.events] == ["shop.A", "shop.B", "shop.C"]

    async def test_what_was_committed_is_there_when_it_is_opened_again(self) -> None:
        """Events, their positions and the history outlive the process; versions go on where they were."""
        async with self.empty_database() as database:
            store = await database()
            committed = await commit(store, append("Sale/1", 0, "shop.A", "shop.B"))
            history, events = store.history, await store.log.read()
            await store.close()
            again = await database()
            try:
                assert again.history == history
                assert await again.log.read() == events
                with pytest.raises(VersionConflict):
                    await commit(again, append("Sale/1", 1))
                later = await commit(again, append("Sale/1", 2))
                assert later.position > committed.position
            finally:
                await again.close()
