"""What a client meets where another process is quicker on the same store."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest_asyncio

from colonnade.persistence.store import Committed
from colonnade.persistence.unit import Answer, Append, Effect, Unit
from colonnade.testing import RunningSystem, running_system

from .library import library

BOOKS = "/api/lending/books"


@pytest_asyncio.fixture
async def system(tmp_path: Path) -> AsyncIterator[RunningSystem]:
    """A library that runs."""
    async with running_system(library, tmp_path) as running:
        yield running


@contextmanager
def outpaced(system: RunningSystem, by: Callable[[Effect], Effect | None]) -> Iterator[None]:
    """Before each commit with an effect that is outpaced, somebody else commits an effect like it."""
    store = system.runtime.services["lending"].store
    commit = store.commit

    async def commit_after_the_rival(unit: Unit) -> Committed:
        for effect in unit.effects:
            if (rival := by(effect)) is not None:
                await commit(Unit(unit.time, system.runtime.world.ids.new(), effects=[rival]))
        return await commit(unit)

    store.commit = commit_after_the_rival  # type: ignore[method-assign]
    try:
        yield
    finally:
        del store.commit


async def test_a_conflict_that_does_not_end_is_409_and_says_which_stream(system: RunningSystem) -> None:
    """With the version that was expected and the one that is there, so that a client can look and ask again."""
    book = (await system.request("POST", BOOKS, json={"title": "Emma"})).json()["id"]

    def the_same_again(effect: Effect) -> Effect | None:
        if not isinstance(effect, Append):
            return None
        ids = system.runtime.world.ids
        events = [type(event)(ids.new(), event.name, event.schema, event.data) for event in effect.events]
        return Append(effect.stream, effect.expected, events)

    lending = f"{BOOKS}/{book}/lending"
    with outpaced(system, the_same_again):
        # The rival lends it on the first attempt; the second finds that, and it is no conflict any more
        answer = await system.request("POST", lending, json={"reader": "Anne"})
        assert (answer.status, answer.json()["type"]) == (409, "urn:problem:lending.AlreadyLent")
        added = await system.request("POST", BOOKS, json={"title": "Persuasion"})
    assert added.status == 409
    document = added.json()
    assert document["type"] == "urn:problem:colonnade.VersionConflict"
    assert document["stream"].startswith("Book/")
    assert (document["expected"], document["actual"]) == (0, 1)


async def test_a_duplicate_that_another_process_answered_meanwhile_gets_that_answer(system: RunningSystem) -> None:
    """Looked for before, the answer was not there; the commit finds it, and nothing is done twice."""
    first = await system.request("POST", BOOKS, json={"title": "Emma"}, headers={"Idempotency-Key": "a"})
    stored: list[Answer] = []

    def of_another(effect: Effect) -> Effect | None:
        if isinstance(effect, Answer) and not stored:
            stored.append(effect)
            return effect
        return None

    before = await system.runtime.services["lending"].store.log.end()
    with outpaced(system, of_another):
        answer = await system.request("POST", BOOKS, json={"title": "Emma"}, headers={"Idempotency-Key": "b"})
    assert stored
    assert answer.status == first.status == 201
    assert answer.headers["location"] == f"{BOOKS}/{answer.json()['id']}"
    assert answer.headers["colonnade-token"]
    assert await system.runtime.services["lending"].store.log.end() == before
