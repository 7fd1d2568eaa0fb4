"""What leaves and what comes due: outbox, marks, timers, deferrals, leases, checkpoints, pruning, queries."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, delete, func, select
from sqlalchemy.schema import CreateTable

from colonnade.persistence.failures import MarkMoved, QueryFailed, TimerGone, WriteFailed
from colonnade.persistence.store import ChainPage, Deferral, DueTimer, LeftMessage, OutboxWeight, Sharer, Touched
from colonnade.persistence.unit import (
    Advance,
    Answer,
    ArmTimer,
    Defer,
    Deliver,
    DisarmTimer,
    Publish,
    Relayed,
    Settle,
    Unit,
)
from colonnade.testing.conformance.store.database import NOW, WORLD, StoreSuite, commit, numbers, sale, sales, sql

__all__ = ["OutgoingSuite"]


def published(number: int, key: str = "a", topic: str = "shop.events") -> Publish:
    """A message to other services."""
    return Publish(topic, key, UUID(int=number), b"%d" % number)


def timer(name: str, due: int, number: int = 1) -> ArmTimer:
    """A timer that delivers to the till."""
    return ArmTimer(name, due, Deliver("subscriber:Till", "a", b"%d" % number, "timers"))


class OutgoingSuite(StoreSuite):
    """The way out of a store."""

    async def test_messages_leave_in_the_order_of_commits(self) -> None:
        """Page by page, each with its topic, key, id and a partition that its key always has."""
        async with self.store() as store:
            await asyncio.gather(*(commit(store, published(number, f"k{number % 3}")) for number in range(9)))
            rows = await store.outbox.pending(0, 100)
            assert [row.seq for row in rows] == sorted({row.seq for row in rows})
            assert sorted(row.id.int for row in rows) == list(range(9))
            assert {row.topic for row in rows} == {"shop.events"}
            assert len({(row.key, row.partition) for row in rows}) == 3
            assert await store.outbox.pending(rows[4].seq, 2) == rows[5:7]

    async def test_marks_say_how_far_each_partition_has_left(self) -> None:
        """Of each topic and partition the last mark."""
        async with self.store() as store:
            await commit(store, Relayed("shop.events", 1, 5), Relayed("shop.events", 2, 6), Relayed("t", 1, 7))
            await commit(store, Relayed("shop.events", 1, 9))
            assert await store.outbox.relayed() == {("shop.events", 1): 9, ("shop.events", 2): 6, ("t", 1): 7}

    async def test_the_ends_of_chains_say_whether_their_last_message_is_still_here(self) -> None:
        """Of the topics that are asked for: a consumer that misses the last one fetches it."""
        async with self.store() as store:
            await commit(store, published(0))
            (row,) = await store.outbox.pending(0, 1)
            await commit(store, Relayed(row.topic, row.partition, row.seq), Relayed("t", 1, 7), Relayed("u", 0, 8))
            assert sorted(await store.outbox.ends(["t", row.topic])) == [
                (row.topic, row.partition, row.seq, True),
                ("t", 1, 7, False),
            ]
            assert await store.outbox.ends([]) == []

    async def test_what_has_left_stays_until_it_is_pruned_and_numbers_are_not_given_again(self) -> None:
        """With the time of its commit; expired answers go a few at a time; the next message has a higher seq."""
        async with self.store() as store:
            await commit(store, *(published(number) for number in range(3)))
            await commit(store, published(3), time=NOW + 5)
            await commit(store, *(Answer(f"old{number}", b"f", b"", expires=NOW) for number in range(3)))
            await commit(store, Answer("new", b"f", b"", expires=NOW + 2))
            rows = await store.outbox.pending(0, 10)
            partition = rows[0].partition
            await commit(store, Relayed("shop.events", partition, rows[2].seq))
            left = await store.outbox.left(10)
            assert left == [LeftMessage(row.seq, NOW, 1) for row in rows[:3]]
            assert await store.outbox.left(2) == left[:2]
            assert await store.outbox.pending(0, 10) == rows
            assert await store.prune([row.seq for row in rows[:2]], NOW + 1, 2) == 2
            assert await store.outbox.pending(0, 10) == rows[2:]
            assert await store.prune([], NOW + 1, 2) == 1
            assert set(await store.answers("old0", "old1", "old2", "new")) == {"new"}
            await commit(store, Relayed("shop.events", partition, rows[3].seq))
            assert await store.outbox.left(10) == [left[2], LeftMessage(rows[3].seq, NOW + 5, 1)]
            assert await store.prune([row.seq for row in rows[2:]], NOW + 1, 100) == 0
            await commit(store, published(9))
            (row,) = await store.outbox.pending(0, 10)
            assert row.seq > rows[3].seq

    async def test_who_relays_begins_behind_all_that_has_left(self) -> None:
        """However much of it is kept, and before the first that is stuck, whatever has left behind it."""
        async with self.store() as store:
            outbox = store.outbox
            assert await outbox.pending(await outbox.all_left_up_to(), 10) == []
            await commit(store, *(published(number) for number in range(4)))
            rows = await outbox.pending(0, 10)
            assert await outbox.pending(await outbox.all_left_up_to(), 10) == rows
            await commit(store, Relayed("shop.events", rows[0].partition, rows[3].seq))
            assert await outbox.pending(await outbox.all_left_up_to(), 10) == []
            await commit(store, published(4, topic="stuck.events"), published(5, "other"), published(6))
            *_, stuck, other, last = await outbox.pending(0, 10)
            assert await outbox.pending(await outbox.all_left_up_to(), 10) == [stuck, other, last]
            await commit(store, Relayed("shop.events", last.partition, last.seq))
            assert await outbox.pending(await outbox.all_left_up_to(), 1) == [stuck]
            await commit(store, Relayed("stuck.events", stuck.partition, stuck.seq))
            assert await outbox.pending(await outbox.all_left_up_to(), 10) == [other, last]

    async def test_what_has_left_behind_a_partition_that_is_stuck_is_found(self) -> None:
        """However many messages stay before it, and no more of it than asked for."""
        async with self.store() as store:
            await commit(store, *(published(number, topic="stuck.events") for number in range(6)))
            await commit(store, *(published(number) for number in range(6, 11)))
            rows = await store.outbox.pending(0, 20)
            await commit(store, Relayed("stuck.events", rows[0].partition, rows[0].seq))
            await commit(store, Relayed("shop.events", rows[6].partition, rows[9].seq))
            left = [rows[0], *rows[6:10]]
            assert [each.seq for each in await store.outbox.left(20)] == [row.seq for row in left]
            assert [each.seq for each in await store.outbox.left(3)] == [row.seq for row in left[:3]]

    async def test_a_chain_says_how_far_it_has_been_pruned(self) -> None:
        """With what it keeps beyond a seq, page by page, and nothing of other chains."""
        async with self.store() as store:
            outbox = store.outbox
            await commit(store, *(published(number, topic=("a", "b")[number % 2]) for number in range(10)))
            rows = [row for row in await outbox.pending(0, 20) if row.topic == "a"]
            partition = rows[0].partition
            assert await outbox.of_chain("a", partition, 0, 20) == ChainPage(rows, 0)
            assert await outbox.of_chain("a", partition, rows[1].seq, 2) == ChainPage(rows[2:4], 0)
            assert await outbox.of_chain("a", partition + 1, 0, 20) == ChainPage([], 0)
            await commit(store, Relayed("a", partition, rows[-1].seq), Relayed("b", partition, rows[-1].seq))
            await store.prune([each.seq for each in await outbox.left(5)], NOW, 1)
            assert await outbox.of_chain("a", partition, 0, 20) == ChainPage(rows[3:], rows[2].seq)
            await store.prune([each.seq for each in await outbox.left(9)], NOW, 1)
            assert await outbox.of_chain("a", partition, 0, 20) == ChainPage([], rows[-1].seq)

    async def test_the_outbox_is_weighed(self) -> None:
        """Page by page, with all that lies in it."""
        async with self.store() as store:
            assert await store.outbox.weigh(7, 5) == OutboxWeight(7, 0, 0)
            await commit(store, *(published(number) for number in range(8, 12)))
            rows = await store.outbox.pending(0, 20)
            assert await store.outbox.weigh(0, 3) == OutboxWeight(rows[2].seq, 3, 4)
            assert await store.outbox.weigh(rows[2].seq, 3) == OutboxWeight(rows[3].seq, 1, 2)

    async def test_timers_come_due_earliest_first(self) -> None:
        """With the message that they carry, and not before their moment."""
        async with self.store() as store:
            to_others = ArmTimer("others", NOW + 1, published(5))
            await commit(store, timer("late", NOW + 3), timer("early", NOW + 2), to_others)
            assert await store.timers.next_due() == NOW + 1
            assert [each.name for each in await store.timers.due(NOW + 2, 10)] == ["others", "early"]
            assert await store.timers.due(NOW + 1, 10) == [DueTimer("others", NOW + 1, published(5))]
            assert len(await store.timers.due(NOW + 9, 2)) == 2

    async def test_who_waits_for_timers_is_told_the_earliest_moment_of_what_is_armed(self) -> None:
        """Once for each batch that was committed and armed some; not of what was disarmed, nor of what was refused."""
        async with self.store() as store:
            heard: list[int | None] = []
            last = asyncio.Event()

            def listen(moment: int | None) -> None:
                heard.append(moment)
                if moment == NOW + 9:
                    last.set()

            store.timers.watch(listen)
            await commit(store, timer("late", NOW + 3), timer("early", NOW + 2), timer("later", NOW + 4))
            await commit(store, DisarmTimer("late"), published(1))
            with pytest.raises(TimerGone):
                await commit(store, timer("refused", NOW + 1), DisarmTimer("unknown", NOW))
            refused = Unit(NOW, UUID(int=1), effects=[timer("refused", NOW), DisarmTimer("unknown", NOW)])
            accepted = [Unit(NOW, UUID(int=1), effects=[timer(f"{moment}", moment)]) for moment in (NOW + 8, NOW + 7)]
            results = await asyncio.gather(*map(store.commit, (refused, *accepted)), return_exceptions=True)
            assert [isinstance(result, TimerGone) for result in results] == [True, False, False]
            await commit(store, timer("last", NOW + 9))
            async with asyncio.timeout(10):
                await last.wait()
            assert heard == [NOW + 2, NOW + 7, NOW + 9]

    async def test_a_timer_of_the_same_name_replaces(self) -> None:
        """It is due once, at its new moment, with its new message."""
        async with self.store() as store:
            await commit(store, timer("t", NOW + 1))
            await commit(store, timer("t", NOW + 5, 2))
            assert await store.timers.due(NOW + 4, 10) == []
            (found,) = await store.timers.due(NOW + 5, 10)
            assert found.message.envelope == b"2"

    async def test_a_timer_is_disarmed(self) -> None:
        """It is gone; one that is not there is no mistake."""
        async with self.store() as store:
            await commit(store, timer("t", NOW + 1))
            await commit(store, DisarmTimer("t"), DisarmTimer("unknown"))
            assert await store.timers.next_due() is None

    async def test_timers_are_listed_by_what_their_names_begin_with(self) -> None:
        """In their order, page by page."""
        async with self.store() as store:
            names = ["saga/B/1/do", "saga/B/2/do", "saga/B/🦀", "saga/Bx/1", "saga/A/1", "b", "SAGA/B/1"]
            await commit(store, *(timer(name, NOW) for name in names))
            assert await store.timers.names("saga/B/") == names[:3]
            assert await store.timers.names("saga/B/", limit=2) == names[:2]
            assert await store.timers.names("saga/B/", names[1]) == names[2:3]
            assert await store.timers.names("saga/B/", names[2]) == []
            assert await store.timers.names("saga/C/") == []

    async def test_who_waits_for_an_outcome_is_remembered_until_it_is_settled(self) -> None:
        """By key, all who wait, each once; who is settled is forgotten, and nobody else."""
        async with self.store() as store:
            first, second = Deferral("charge/1", "ordering", "a"), Deferral("charge/1", "returns", "a")
            other = Deferral("charge/2", "ordering", "a")
            for each in (first, second, other, first):
                await commit(store, Defer(each.key, each.reply_to, each.reply_key))
            assert await store.deferrals("charge/1") == [first, second]
            await commit(store, Settle("charge/1", "ordering", "a"))
            assert await store.deferrals("charge/1") == [second]
            await commit(store, Settle("charge/1", "returns", "a"), Settle("charge/3", "nobody", "waits"))
            assert await store.deferrals("charge/1") == []
            assert await store.deferrals("charge/2") == [other]

    async def test_a_lease_has_one_owner(self) -> None:
        """Renewed by its owner at the same epoch; taken by another once it expired or was given up, at a higher one."""
        async with self.store() as store:
            leases = store.leases
            mine = await leases.acquire("relay", "a", 60.0)
            assert mine is not None
            again = await leases.acquire("relay", "a", 60.0)
            assert again is not None
            assert (again.epoch, again.owner) == (mine.epoch, "a")
            assert await leases.acquire("relay", "b", 60.0) is None
            assert await leases.acquire("other", "b", 60.0) is not None
            assert await leases.held() == {"relay", "other"}
            await leases.release(again)
            theirs = await leases.acquire("relay", "b", 0.0)
            assert theirs is not None
            assert theirs.epoch > mine.epoch
            await leases.release(mine)  # of an epoch that is over: nothing to give up
            expired = await leases.acquire("relay", "c", 60.0)
            assert expired is not None
            assert expired.epoch > theirs.epoch

    async def test_all_leases_of_one_who_has_ended_are_free(self) -> None:
        """At once, and with new epochs; those of others are not."""
        async with self.store() as store:
            leases = store.leases
            for name in ("relay", "timers"):
                assert await leases.acquire(name, "a", 60.0) is not None
            assert await leases.acquire("lines", "b", 60.0) is not None
            await leases.release_all("a")
            taken = [await leases.acquire(name, "c", 60.0) for name in ("relay", "timers", "lines")]
            assert [lease.epoch if lease is not None else None for lease in taken] == [3, 3, None]

    async def test_work_is_shared_by_parts(self) -> None:
        """A part has one owner, until it is given up, its owner leaves, has ended or does not say that it is there."""
        async with self.store() as store:
            leases = store.leases
            touched: list[Touched] = []
            store.watch(touched.append)
            assert await leases.share("lines", "a", 60.0) == [Sharer("a", [])]
            assert await leases.share("lines", "a", 60.0, take=[3, 1, 2]) == [Sharer("a", [1, 2, 3])]
            assert touched == [Touched.SHARES, Touched.SHARES]
            assert await leases.share("lines", "b", 60.0, take=[3, 4]) == [Sharer("a", [1, 2, 3]), Sharer("b", [4])]
            assert await leases.share("other", "b", 60.0, take=[3]) == [Sharer("b", [3])]
            touched.clear()
            assert await leases.share("lines", "a", 60.0) == [Sharer("a", [1, 2, 3]), Sharer("b", [4])]
            assert touched == []
            await leases.share("lines", "a", 60.0, give=[3])
            assert await leases.share("lines", "b", 60.0, take=[3]) == [Sharer("a", [1, 2]), Sharer("b", [3, 4])]
            await leases.leave("lines", "a")
            await leases.share("lines", "c", 0.0, take=[1])
            # The time of the last is over, and with it its parts are free
            assert await leases.share("lines", "b", 60.0, take=[1]) == [Sharer("b", [1, 3, 4])]
            assert await leases.share("lines", "c", 60.0) == [Sharer("b", [1, 3, 4]), Sharer("c", [])]
            await leases.release_all("b")
            assert await leases.share("lines", "c", 60.0) == [Sharer("c", [])]

    async def test_of_many_who_want_a_part_one_gets_it(self) -> None:
        """And each part somebody."""
        async with self.store() as store:
            owners = [f"{number}" for number in range(8)]
            await asyncio.gather(*(store.leases.share("lines", owner, 60.0, take=range(16)) for owner in owners))
            sharers = await store.leases.share("lines", "0", 60.0)
            assert sorted(part for each in sharers for part in each.parts) == list(range(16))

    async def test_of_many_who_want_a_lease_one_gets_it(self) -> None:
        """Asked at the same time, it is given once."""
        async with self.store() as store:
            got = await asyncio.gather(*(store.leases.acquire("relay", f"{owner}", 60.0) for owner in range(10)))
            assert len([lease for lease in got if lease is not None]) == 1

    async def test_a_checkpoint_moves_from_where_it_stands_with_its_rows(self) -> None:
        """Rows and checkpoint together, or neither."""
        async with self.store() as store:
            assert await store.checkpoint("Sales") == 0
            await commit(store, sale(store, 1), Advance("Sales", 0, 7))
            with pytest.raises(MarkMoved) as raised:
                await commit(store, sale(store, 2), Advance("Sales", 0, 8))
            assert (raised.value.expected, raised.value.actual) == (0, 7)
            assert (await store.checkpoint("Sales"), await numbers(store)) == (7, [1])

    async def test_the_statements_of_a_query_see_one_state(self) -> None:
        """Whatever is committed meanwhile is in all of them or in none."""
        async with self.store() as store:
            count = (sql(store, select(func.count()).select_from(sales)), ())
            writing = [asyncio.ensure_future(commit(store, sale(store, number))) for number in range(50)]
            while not all(each.done() for each in writing):
                first, second, third = await store.query([count, count, count])
                assert first == second == third
                await WORLD.sleep(0)
            assert await store.query([count]) == [[(50,)]]

    async def test_a_query_that_cannot_be_is_refused(self) -> None:
        """With the statement and what the database says of it; the store goes on."""
        async with self.store() as store:
            with pytest.raises(QueryFailed) as raised:
                await store.query([('SELECT "nothing" FROM absent', ())])
            assert "absent" in str(raised.value)
            with pytest.raises(QueryFailed):
                await store.query([(sql(store, delete(sales)), ())])
            assert await numbers(store) == []

    async def test_a_schema_changes_as_a_whole(self) -> None:
        """Statements that make tables are all carried out, or none."""
        async with self.store() as store:
            kept = Table("kept", MetaData(), Column("a", Integer))
            make, look = sql(store, CreateTable(kept)), (sql(store, select(kept)), ())
            with pytest.raises(WriteFailed):
                await store.define([make, sql(store, CreateTable(sales))])
            with pytest.raises(QueryFailed):
                await store.query([look])
            await store.define([make])
            assert await store.query([look]) == [[]]
