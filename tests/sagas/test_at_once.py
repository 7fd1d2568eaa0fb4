"""The end of sagas: heard in the commit that brings the last answer, where nothing goes wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from colonnade.persistence.store import Touched
from colonnade.workers.at_once import joint
from colonnade.workers.sagas.history import End
from tests.sagas.travelling import WITHIN_SECONDS, Travel, travelling


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is late, however busy the machine is."""
    monkeypatch.setattr(joint, "JOINING_SECONDS", WITHIN_SECONDS)


@asynccontextmanager
async def booked_at_once(path: Path, *legs: str) -> AsyncIterator[Travel]:
    """A trip to its end; from the booking of the first leg on nothing of it has come into the inbox of the sagas."""
    async with travelling(path) as travel:
        travel.clerks.tell(f"book {legs[0]}", "wait")
        await travel.plan(*legs)
        await travel.clerks.until_asked(f"book {legs[0]}")
        touched: list[Touched] = []
        travel.trips.watch(touched.append)
        travel.clerks.may_go_on.set()
        assert await travel.ended() is End.COMPLETED
        await travel.system.settled()
        assert not any(each & Touched.INBOX for each in touched)
        yield travel


async def test_a_saga_hears_at_once_that_it_is_completed(tmp_path: Path) -> None:
    """The answer to its last command is in the commit that brought the answer to its last step."""
    async with booked_at_once(tmp_path, "a", "b") as travel:
        assert await travel.told() == [("TripBooked", {})]
        *_, answered, ended = [event for event in await travel.trips.log.read() if event.stream.startswith("BookTrip/")]
        assert answered.causation_id == ended.causation_id


async def test_a_saga_goes_on_at_once_through_the_steps_of_its_own_service(tmp_path: Path) -> None:
    """Each goes on from the answer to the one before it, though all of them come to one line: all is one commit."""
    async with booked_at_once(tmp_path, "a", "bag-1", "bag-2") as travel:
        assert await travel.trips.timers.names("saga/", "") == []
        assert await travel.told() == [("TripBooked", {})]


async def test_one_whose_completion_fails_first_hears_of_it_later(tmp_path: Path) -> None:
    """What it had taken for done is not: the command is tried again, and the saga ends then."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("complete", "fail")
        await travel.plan("a", "b")
        assert await travel.ended() is End.COMPLETED
        await travel.system.settled()
        assert await travel.told() == [("TripBooked", {})]
