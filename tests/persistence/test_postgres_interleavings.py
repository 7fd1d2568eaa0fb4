"""What two processes do to one PostgreSQL store at the same time, in every order of their steps."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from asyncpg import UniqueViolationError

from colonnade.system.hosts.servers.postgresql import PostgresServer
from tests.persistence.interleaving import Actor, Stage, Step, interleavings, sampled, stage

ID = UUID(int=1)
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


_DELIVER = "SELECT deliver_messages(NULL, ARRAY[0], ARRAY['till'], ARRAY['a'], ARRAY['{}'::bytea], ARRAY[1::bigint])"


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
