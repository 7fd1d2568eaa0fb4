"""Plans are data, and say at once what is wrong with them."""

from datetime import timedelta
from uuid import UUID

import pytest

from colonnade.application import Plan, Step, Together, seconds
from tests.sagas.travel.stations.contracts import Book

COMMAND = Book(UUID(int=1), "a")


def test_steps_and_groups_become_stages() -> None:
    """A step by itself is a stage of one."""
    a, b, c = (Step(id, COMMAND) for id in "abc")
    assert Plan(a, Together(b, c)).stages == ((a,), (b, c))
    assert Plan().stages == ()


def test_a_step_has_a_minute_unless_it_says_otherwise() -> None:
    """The default time-out."""
    assert Step("a", COMMAND).timeout == timedelta(minutes=1)
    assert Step("a", COMMAND, timeout=seconds(0.5)).timeout == timedelta(milliseconds=500)


@pytest.mark.parametrize("id", ["", "(completed)", "(failed)"])
def test_a_step_has_a_name_of_its_own(id: str) -> None:
    """The names of what tells the end are taken, and nothing is no name."""
    with pytest.raises(ValueError, match="cannot be called"):
        Step(id, COMMAND)


@pytest.mark.parametrize("timeout", [timedelta(0), seconds(-1)])
def test_a_step_has_some_time(timeout: timedelta) -> None:
    """One that may never be done is a mistake."""
    with pytest.raises(ValueError, match="The step a needs a timeout above zero"):
        Step("a", COMMAND, timeout=timeout)


def test_no_two_steps_have_one_name() -> None:
    """Also in different stages; the names are told."""
    with pytest.raises(ValueError, match="called a, b; give each"):
        Plan(Step("a", COMMAND), Together(Step("b", COMMAND), Step("a", COMMAND)), Step("b", COMMAND))
