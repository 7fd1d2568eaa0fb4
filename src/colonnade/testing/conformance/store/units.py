"""Units of work: all or nothing, beside each other, whoever goes away."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from colonnade.persistence.failures import (
    AlreadyAnswered,
    AlreadyHandled,
    LeaseLost,
    MarkMoved,
    MessageTooLarge,
    MissedRow,
    NotParked,
    StoredAnswer,
    TimerGone,
    VersionConflict,
    WriteFailed,
)
from colonnade.persistence.store import Committed, Store, Touched
from colonnade.persistence.unit import (
    Advance,
    Answer,
    ArmTimer,
    ChainId,
    Deliver,
    DisarmTimer,
    Discard,
    Effect,
    Fence,
    Forget,
    Handled,
    Park,
    Publish,
    Receive,
    Relayed,
    Retry,
    Unpark,
)
from colonnade.testing.conformance.store.database import (
    FOR_EVER,
    WORLD,
    StoreSuite,
    append,
    commit,
    missing,
    numbers,
    sale,
    unit,
)

__all__ = ["UnitSuite"]

CHAIN = ChainId("shop", UUID(int=9), "shop.events", 3)
TOO_LARGE = b"x" * 300_000

Losing = Callable[[Store], Effect]

LOSERS: list[tuple[Losing, type[Exception]]] = [
    (lambda store: append("Taken/1", 0), VersionConflict),
    (lambda store: Handled(10_000), AlreadyHandled),
    (lambda store: Retry(10_000, 1, 0, "no"), AlreadyHandled),
    (lambda store: Park(10_000, 1, "no", hold=True), AlreadyHandled),
    (lambda store: Unpark(10_000), NotParked),
    (lambda store: Discard(10_000), NotParked),
    (lambda store: Answer("taken", b"f", b"second", FOR_EVER), AlreadyAnswered),
    (lambda store: Receive(CHAIN, 5, 6, []), MarkMoved),
    (lambda store: Advance("Prices", 5, 6), MarkMoved),
    (lambda store: DisarmTimer("unknown", due=1), TimerGone),
    (lambda store: missing(store, 77), MissedRow),
    (lambda store: sale(store, 1), WriteFailed),
    (lambda store: Publish("shop.events", "a", UUID(int=1), TOO_LARGE), MessageTooLarge),
    (lambda store: Deliver("subscriber:Till", "a", TOO_LARGE), MessageTooLarge),
    (lambda store: ArmTimer("large", 1, Deliver("subscriber:Till", "a", TOO_LARGE)), MessageTooLarge),
]

ONLY_ONE: list[tuple[Effect, type[Exception]]] = [
    (append("Once/1", 0), VersionConflict),
    (Answer("once", b"f", b"answer", FOR_EVER), AlreadyAnswered),
    (Receive(CHAIN, 0, 6, []), MarkMoved),
    (Advance("Once", 0, 6), MarkMoved),
    (DisarmTimer("armed", due=7), TimerGone),
]


class UnitSuite(StoreSuite):
    """What is committed together."""

    async def _taken(self, store: Store) -> None:
        await commit(store, append("Taken/1", 0), Answer("taken", b"f", b"first", FOR_EVER), sale(store, 1))

    @pytest.mark.parametrize(("losing", "error"), LOSERS, ids=[error.__name__ for _, error in LOSERS])
    @pytest.mark.parametrize("first", [False, True])
    async def test_a_unit_that_loses_leaves_nothing(self, losing: Losing, error: type[Exception], first: bool) -> None:
        """Whatever effect it loses by, first or last in it: nothing of the unit is kept."""
        async with self.store() as store:
            await self._taken(store)
            rest: list[Effect] = [
                append("Sale/1", 0),
                Publish("shop.events", "Sale/1", UUID(int=1), b"{}"),
                Deliver("subscriber:Till", "Sale/1", b"{}"),
                ArmTimer("timer", 1, Deliver("subscriber:Till", "Sale/1", b"{}")),
                Answer("scope", b"f", b"answer", FOR_EVER),
                sale(store, 5),
            ]
            with pytest.raises(error):
                await commit(store, *([losing(store), *rest] if first else [*rest, losing(store)]))
            assert await store.log.stream("Sale/1") == []
            assert await store.outbox.pending(0, 10) == []
            assert await store.inbox.unhandled() == 0
            assert await store.timers.next_due() is None
            assert await store.answers("scope") == {}
            assert await numbers(store) == [1]
            assert isinstance(await commit(store, *rest), Committed)

    @pytest.mark.parametrize(("losing", "error"), LOSERS, ids=[error.__name__ for _, error in LOSERS])
    async def test_a_unit_that_loses_harms_no_other(self, losing: Losing, error: type[Exception]) -> None:
        """Units committed at the same time as one that loses are committed, each once."""
        async with self.store() as store:
            await self._taken(store)
            units = [unit(append(f"Sale/{number}", 0), sale(store, 100 + number)) for number in range(6)]
            units.insert(3, unit(append("Sale/lost", 0), losing(store)))
            results = await asyncio.gather(*(store.commit(each) for each in units), return_exceptions=True)
            assert isinstance(results.pop(3), error)
            assert all(isinstance(result, Committed) for result in results)
            assert await numbers(store) == [1, *range(100, 106)]
            assert await store.log.streams("Sale") == [f"Sale/{number}" for number in range(6)]

    @pytest.mark.parametrize(("effect", "error"), ONLY_ONE, ids=[type(effect).__name__ for effect, _ in ONLY_ONE])
    async def test_of_units_that_want_the_same_one_wins(self, effect: Effect, error: type[Exception]) -> None:
        """Committed at the same time, one is first and the others are told that they lost; their rows are not kept."""
        async with self.store() as store:
            await commit(store, ArmTimer("armed", 7, Deliver("subscriber:Till", "a", b"{}")))
            results = await asyncio.gather(
                *(commit(store, sale(store, number), effect) for number in range(5)), return_exceptions=True
            )
            won = [number for number, result in enumerate(results) if isinstance(result, Committed)]
            assert len(won) == 1
            assert sum(isinstance(result, error) for result in results) == 4
            assert await numbers(store) == won

    @pytest.mark.parametrize("first", ["handled", "parked", "discarded", "tried again"])
    async def test_of_workers_at_one_message_one_wins(self, first: str) -> None:
        """It is done, parked, given up or tried again once, whoever else wanted to at the same time."""
        async with self.store() as store:
            await commit(store, Deliver("subscriber:Till", "a", b"{}"))
            (message,) = await store.inbox.due(FOR_EVER, 10)
            row, error = message.row, AlreadyHandled if first in ("handled", "parked") else NotParked
            if error is NotParked:
                await commit(store, Park(row, 1, "poison", hold=True))
            effects: dict[str, Effect] = {
                "handled": Handled(row),
                "parked": Park(row, 1, "poison", hold=True),
                "discarded": Discard(row),
                "tried again": Unpark(row),
            }
            results = await asyncio.gather(*(commit(store, effects[first]) for _ in range(5)), return_exceptions=True)
            assert sum(isinstance(result, Committed) for result in results) == 1
            assert sum(isinstance(result, error) for result in results) == 4

    async def test_an_idempotent_answer_is_told_to_who_comes_second(self) -> None:
        """The loser gets the winner's answer; after it has expired the same request is a new one."""
        async with self.store() as store:
            await commit(store, Answer("scope", b"f", b"first", expires=2_000), time=1_000)
            with pytest.raises(AlreadyAnswered) as raised:
                await commit(store, Answer("scope", b"g", b"second", FOR_EVER), time=1_999)
            assert raised.value.answer == StoredAnswer(b"f", b"first")
            await commit(store, Answer("scope", b"g", b"second", FOR_EVER), time=2_000)
            assert await store.answers("scope", "other") == {"scope": StoredAnswer(b"g", b"second")}

    async def test_an_answer_is_forgotten(self) -> None:
        """The same request is a new one then; one that is not there is no mistake."""
        async with self.store() as store:
            await commit(store, Answer("scope", b"f", b"first", FOR_EVER), Answer("other", b"f", b"kept", FOR_EVER))
            await commit(store, Forget("scope"), Forget("unknown"))
            assert await store.answers("scope", "other") == {"other": StoredAnswer(b"f", b"kept")}
            await commit(store, Answer("scope", b"g", b"second", FOR_EVER))
            assert await store.answers("scope") == {"scope": StoredAnswer(b"g", b"second")}

    async def test_an_owner_that_was_overtaken_commits_nothing(self) -> None:
        """A unit under a lease's epoch is refused once another owner has taken the lease."""
        async with self.store() as store:
            lease = await store.leases.acquire("relay", "a", 0.0)
            assert lease is not None
            await commit(store, append("Sale/1", 0), fence=Fence("relay", lease.epoch))
            taken = await store.leases.acquire("relay", "b", 60.0)
            assert taken is not None
            with pytest.raises(LeaseLost):
                await commit(store, append("Sale/1", 1), Relayed("t", 0, 1), fence=Fence("relay", lease.epoch))
            assert await store.outbox.relayed() == {}
            await commit(store, append("Sale/1", 1), fence=Fence("relay", taken.epoch))
            with pytest.raises(LeaseLost):
                await commit(store, append("Sale/1", 2), fence=Fence("nobody's", 1))

    async def test_cancelling_a_caller_cancels_no_commit(self) -> None:
        """Who waits for a commit and goes away leaves it, and those of others, to be committed."""
        async with self.store() as store:
            for turns in range(4):
                waiting = [
                    asyncio.ensure_future(commit(store, append(f"Sale/{turns}/{number}", 0))) for number in range(5)
                ]
                for _ in range(turns):
                    await WORLD.sleep(0)
                waiting[2].cancel()
                results = await asyncio.gather(*waiting, return_exceptions=True)
                assert [isinstance(result, Committed) for result in results].count(True) >= 4
                await store.commit(unit())
            # Cancelled before it began, it may not have come to the store; the others are all there
            assert 16 <= len(await store.log.streams("Sale")) <= 20

    @pytest.mark.parametrize(
        ("effects", "touched"),
        [
            ([append("Sale/1", 0)], Touched.EVENTS),
            ([Publish("shop.events", "a", UUID(int=1), b"{}")], Touched.OUTBOX),
            ([Deliver("subscriber:Till", "a", b"{}")], Touched.INBOX),
            ([ArmTimer("timer", 1, Deliver("subscriber:Till", "a", b"{}"))], Touched.TIMERS),
            ([Advance("Prices", 0, 1)], Touched.CHECKPOINTS),
            ([append("Sale/1", 0), Advance("Prices", 0, 1)], Touched.EVENTS | Touched.CHECKPOINTS),
        ],
    )
    async def test_watchers_are_told_what_a_commit_added_to(self, effects: list[Any], touched: Touched) -> None:
        """Those who wait for work hear of it after the commit, and of nothing else."""
        async with self.store() as store:
            heard: list[Touched] = []
            told = asyncio.Event()

            def listen(what: Touched) -> None:
                heard.append(what)
                told.set()

            store.watch(listen)
            await commit(store, *effects)
            async with asyncio.timeout(10):
                await told.wait()
            assert heard == [touched]

    async def test_a_watcher_that_fails_keeps_nothing_from_the_others(self) -> None:
        """Its error goes to the loop's handler; the commit succeeds, and the next watcher hears of it."""
        async with self.store() as store:
            told = asyncio.Event()
            failures: list[object] = []

            def fail(what: Touched) -> None:
                raise KeyError("mine")

            def note(loop: object, context: dict[str, Any]) -> None:
                failures.append(context["exception"])

            asyncio.get_running_loop().set_exception_handler(note)
            store.watch(fail)
            store.watch(lambda what: told.set())
            await commit(store, append("Sale/1", 0))
            async with asyncio.timeout(10):
                await told.wait()
            assert [repr(failure) for failure in failures] == ["KeyError('mine')"]
