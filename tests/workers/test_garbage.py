"""What is done leaves nothing for the garbage collector: looking for it was a tenth of a saga's CPU."""

import asyncio
from pathlib import Path
from uuid import UUID

from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.unit import Deliver, Handled, Publish
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing.conformance.store.database import append, commit
from colonnade.workers.at_once.trying import LONGEST_REST_SECONDS
from colonnade.world import real_world
from tests.garbage import left_behind
from tests.workers.counter import a_counter, message

WORLD = real_world()
MANY = 20


def test_what_lies_in_a_circle_is_found() -> None:
    """By its kind; what nobody holds any more, not even itself, is not there."""
    with left_behind() as left:
        world = real_world()
        del world
    assert left.ours == []
    with left_behind() as left:
        circle: list[object] = [real_world()]
        circle.append(circle)
        del circle
    assert "World" in left.ours


async def test_messages_that_are_done_at_once_leave_no_garbage(tmp_path: Path) -> None:
    """Each is a task that joins a commit: when that is done, nothing holds the other."""
    async with a_counter(tmp_path) as counter:
        with left_behind() as left:
            for number in range(MANY):
                await counter.do(append(f"Sale/{number}", 0), message("a", f"{number}"), message("b", f"{number}"))
        assert len(await counter.done("a")) == MANY
        assert left.ours == []


async def test_messages_that_fail_at_once_leave_no_garbage(tmp_path: Path) -> None:
    """The error holds the frames it went through, and none of those the error."""
    async with a_counter(tmp_path) as counter:

        def dropped() -> Exception | None:
            raise RuntimeError("dropped it")

        counter.clerk.faults["a"] = dropped
        with left_behind() as left:
            for number in range(MANY):
                await counter.do(append(f"Sale/{number}", 0), message("a", f"{number}"))
                counter.clock.advance(LONGEST_REST_SECONDS)
        assert len(counter.clerk.tried) >= 1
        assert left.ours == []


async def test_a_batch_leaves_no_garbage(postgres: PostgresServer) -> None:
    """Units that are committed together on PostgreSQL, those that a relay takes, and loads."""
    store = await open_postgres_store(postgres.url(), WORLD, schema=f"garbage_{WORLD.ids.new().hex}")
    try:
        with left_behind() as left:
            for version in range(MANY):
                await asyncio.gather(
                    *(
                        commit(
                            store,
                            append(f"Sale/{stream}", version),
                            Publish("shop.events", "a", UUID(int=version), b"{}"),
                            Deliver("subscriber:Till", "a", b"{}"),
                        )
                        for stream in range(3)
                    )
                )
                await store.outbox.pending(0, 100)
                await store.log.load(["Sale/1", "Sale/2"], snapshots=False)
                (due, *_) = await store.inbox.due(WORLD.clock.micros(), 1)
                await commit(store, Handled(due.row))
        assert left.ours == []
    finally:
        await store.close()
