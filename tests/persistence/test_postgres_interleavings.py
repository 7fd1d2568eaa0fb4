"""What two processes do to one PostgreSQL store at the same time, in every order of their steps."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from asyncpg import UniqueViolationError

from colonnade.persistence.postgres.batch import Batch
from colonnade.persistence.unit import ChainId, Effect, Incoming, NoteLoss, PassOver, Receive, Unit
from colonnade.system.hosts.servers.postgresql import PostgresServer
from tests.persistence.interleaving import Actor, Stage, Step, interleavings, sampled, stage

ID = UUID(int=1)
CHAIN = ChainId("shop", ID, "shop.events", 3)
PATIENT_MILLISECONDS = 30_000
_APPEND = """
    SELECT append_events(NULL, ARRAY[
        (0, $1::text, $2::int, $2::int + 1, $3::uuid, 'shop.A', 1, '{}'::bytea, 1, $3::uuid, NULL, NULL)::new_event
    ])
"""


@pytest.fixture
async def play(postgres: PostgresServer) -> AsyncIterator[Stage]:
    """A stage."""
    async with stage(postgres.url()) as made:
        yield made


def statement(sql: str, *values: Any) -> Step:
    """A step that is one statement; what it raises by losing is noted."""

    async def run(actor: Actor) -> None:
        try:
            await actor.connection.execute(sql, *values)
        except asyncpg.PostgresError as error:
            actor.seen.append(error.sqlstate)

    return run


def writer(stream: str, end: str) -> Sequence[Step]:
    """Append, each part of it a step: lock, draw, insert, and commit or roll back."""

    async def draw(actor: Actor) -> None:
        actor.seen.append(await actor.connection.fetchval("SELECT nextval('positions')"))

    async def insert(actor: Actor) -> None:
        await actor.connection.execute(
            "INSERT INTO events VALUES ($1, $2, 1, $3, 'shop.A', 1, '{}', 1, $3)", actor.seen[-1], stream, ID
        )

    return [statement("BEGIN; SELECT lock_positions()"), draw, insert, statement(end)]


def reader() -> Sequence[Step]:
    """Read up to the horizon, each look a step."""

    async def reached(actor: Actor) -> None:
        actor.seen.append(await actor.connection.fetchval("SELECT last_position()"))

    async def held(actor: Actor) -> None:
        actor.seen.append(await actor.connection.fetchval("SELECT lowest_held($1)", actor.seen.pop()))

    async def rows(actor: Actor) -> None:
        sql = "SELECT position FROM events WHERE position <= $1 ORDER BY position"
        actor.seen.append([position for (position,) in await actor.connection.fetch(sql, actor.seen[-1])])

    return [reached, held, rows]


async def never_skips(play: Stage, parts: Sequence[Sequence[Step]], order: Sequence[int]) -> None:
    """What a reader saw up to its horizon is all that will ever be there."""
    await play.empty()
    *_, reading = await play.play(parts, order)
    horizon, seen = reading.seen
    sql = "SELECT position FROM events WHERE position <= $1 ORDER BY position"
    assert [position for (position,) in await play.watcher.fetch(sql, horizon)] == seen, order


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_a_reader_never_skips_a_writer(play: Stage, end: str) -> None:
    """In all 35 orders of the steps of one who appends and one who reads."""
    orders = list(interleavings(4, 3))
    assert len(orders) == 35
    for order in orders:
        await never_skips(play, [writer("Sale/1", end), reader()], order)


async def test_a_reader_never_skips_two_writers(play: Stage) -> None:
    """In orders of the steps of two who append and one who reads, drawn by a seed."""
    for order in sampled(7, 250, 4, 4, 3):
        await never_skips(play, [writer("Sale/1", "COMMIT"), writer("Sale/2", "COMMIT"), reader()], order)


@pytest.mark.proof
@pytest.mark.parametrize("ends", [("COMMIT", "COMMIT"), ("COMMIT", "ROLLBACK")])
async def test_a_reader_never_skips_two_writers_in_any_order(play: Stage, ends: tuple[str, str]) -> None:
    """In all 11,550 orders."""
    for order in interleavings(4, 4, 3):
        await never_skips(play, [writer("Sale/1", ends[0]), writer("Sale/2", ends[1]), reader()], order)


@pytest.mark.parametrize("ends", [("COMMIT", "COMMIT"), ("ROLLBACK", "COMMIT"), ("COMMIT", "ROLLBACK")])
async def test_of_two_appends_at_one_version_one_wins(play: Stage, ends: tuple[str, str]) -> None:
    """In all orders, whoever rolls back: one event has the version, and who lost was told so."""
    for order in interleavings(3, 3):
        await play.empty()
        parts = [
            [statement("BEGIN"), statement(_APPEND, "Sale/1", 0, UUID(int=number)), statement(end)]
            for number, end in enumerate(ends)
        ]
        actors = await play.play(parts, order)
        # By what is there, or by meeting the other at the index: tried again, it is told by what
        lost = [actor.seen in (["CLVER"], [UniqueViolationError.sqlstate]) for actor in actors]
        kept = [id.int for (id,) in await play.watcher.fetch("SELECT id FROM events")]
        won = [number for number, end in enumerate(ends) if end == "COMMIT" and not lost[number]]
        assert kept == won, order
        assert len(won) == 1 or "ROLLBACK" in ends, order
        assert not all(lost), order


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_a_stream_has_no_holes_whoever_is_first(play: Stage, end: str) -> None:
    """Version 2 is added only where version 1 has been committed: else it loses, in all orders."""
    for order in interleavings(3, 3):
        await play.empty()
        ends = (end, "COMMIT")
        parts = [
            [statement("BEGIN"), statement(_APPEND, "Sale/1", version, ID), statement(ends[version])]
            for version in (0, 1)
        ]
        _, second = await play.play(parts, order)
        versions = [version for (version,) in await play.watcher.fetch("SELECT version FROM events ORDER BY version")]
        first = [1] if end == "COMMIT" else []
        assert versions == (first if second.seen else [1, 2]), order


_DELIVER = "SELECT deliver_messages(NULL, ARRAY[(0, 'till', 'a', '{}'::bytea, 1)::own_message])"


async def test_a_message_that_comes_while_the_last_one_is_handled_has_a_head(play: Stage) -> None:
    """In all orders of one who handles the only message of a line and one who adds to the line."""
    for order in interleavings(3, 3):
        await play.empty()
        await play.watcher.execute(_DELIVER)
        (first,) = await play.watcher.fetchrow("SELECT id FROM inbox")
        handle = f"SELECT handle_messages(NULL, ARRAY[0], ARRAY[{first}::bigint])"
        parts = [
            [statement("BEGIN"), statement(handle), statement("COMMIT")],
            [statement("BEGIN"), statement(_DELIVER), statement("COMMIT")],
        ]
        await play.play(parts, order)
        heads = await play.watcher.fetch("SELECT id FROM heads")
        assert heads == await play.watcher.fetch("SELECT id FROM inbox"), order
        assert len(heads) == 1, order


async def test_nobody_who_was_overtaken_commits_after_that(play: Stage) -> None:
    """In all orders of a commit under a lease that has run out and another owner who takes it."""
    under = f"""
        SELECT publish_messages(hold_leases(NULL, ARRAY[0], ARRAY['relay'], ARRAY[1::bigint]), ARRAY[
            ('t', 1, 'a', '{ID}'::uuid, '{{}}'::bytea, 1)::new_message
        ])
    """
    take = "UPDATE leases SET owner = 'b', epoch = epoch + 1 WHERE name = 'relay' AND expires = 0"

    async def taken(actor: Actor) -> None:
        await actor.connection.execute(take)
        actor.seen.append(await actor.connection.fetchval("SELECT count(*) FROM outbox"))

    for order in interleavings(3, 3):
        await play.empty()
        await play.watcher.execute("INSERT INTO leases VALUES ('relay', 'a', 1, 0)")
        owner, other = await play.play(
            [
                [statement("BEGIN"), statement(under), statement("COMMIT")],
                [statement("BEGIN"), taken, statement("COMMIT")],
            ],
            order,
        )
        published = await play.watcher.fetchval("SELECT count(*) FROM outbox")
        assert other.seen == [published], order  # all that was ever committed under the old epoch
        assert published == (0 if owner.seen == ["CLLEA"] else 1), order


async def unit_of(play: Stage, *effects: Effect) -> Step:
    """A step that is a unit of work, as the store puts it."""
    batch = Batch(await play.watcher.fetchval("SELECT current_schema()"), 8)
    batch.add(Unit(1, ID, effects=[*effects]))
    sql, arguments = batch.statement(PATIENT_MILLISECONDS)
    return statement(sql, *arguments)


@pytest.mark.parametrize("comes", [3, 4])
async def test_what_comes_early_while_its_hole_is_passed_over_is_not_left_behind(play: Stage, comes: int) -> None:
    """In all orders of who passes over 3 and 4 and who receives one of them: it is taken in, or tried again."""
    early = Incoming(5, 4, "till", "a", b"{}", ready=False, sent_at=1)
    late = Incoming(comes, comes - 1, "till", "a", b"{}", ready=comes == 3, sent_at=1)
    for order in interleavings(3, 3):
        await play.empty()
        await _once(play, Receive(CHAIN, 0, 2, [early]), NoteLoss(CHAIN, 2, 4, "it was deleted", 1))
        row = await play.watcher.fetchval("SELECT id FROM losses")
        over = await unit_of(play, PassOver(row, "alice"))
        receive = await unit_of(play, Receive(CHAIN, 2, 3 if comes == 3 else 2, [late]))
        passing, receiving = await play.play(
            [
                [statement("BEGIN"), over, statement("COMMIT")],
                [statement("BEGIN"), receive, statement("COMMIT")],
            ],
            order,
        )
        received = await play.watcher.fetchval("SELECT received FROM chains")
        behind = await play.watcher.fetch("SELECT seq FROM inbox WHERE NOT ready AND prev < $1", received)
        assert behind == [], order
        assert (received, passing.seen, receiving.seen) in (
            (4, [], ["CLCHN"]),
            (3, [], []) if comes == 4 else (3, ["CLLOS"], []),
        ), order


async def _once(play: Stage, *effects: Effect) -> None:
    alone = Actor(play.watcher, [await unit_of(play, *effects)])
    await alone.finish()
    assert alone.seen == []
