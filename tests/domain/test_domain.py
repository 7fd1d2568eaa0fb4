"""Aggregates record what they decide; refusals carry their data and say it in a sentence."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import pytest

from colonnade.domain import Aggregate, Conflict, Forbidden, Invalid, NotFound, Refusal
from colonnade.messages import Event
from colonnade.testing import given


class Opened(Event):
    """The door was opened."""


class Closed(Event):
    """The door was closed."""

    by: str


class Status(StrEnum):
    """A door's."""

    OPEN = "open"
    SHUT = "shut"


class DoorNotOpen(Conflict):
    """Only an open door can be closed.

    More is said here, and not to the caller.
    """

    status: Status
    by: str = "nobody"
    limit: ClassVar[int] = 3


class NoName(Invalid):
    """Who closes a door has a name."""


class Door(Aggregate[Opened | Closed]):
    """A door."""

    status: Status

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.status = Status.SHUT

    def open(self) -> None:
        """Open it."""
        self.record(Opened())

    def close(self, by: str) -> None:
        """Close it."""
        if not by:
            raise NoName
        if self.status is not Status.OPEN:
            raise DoorNotOpen(self.status)
        self.record(Closed(by))

    def apply(self, event: Opened | Closed) -> None:
        """Follow."""
        match event:
            case Opened():
                self.status = Status.OPEN
            case Closed():
                self.status = Status.SHUT


DOOR = UUID(int=1)


def test_what_is_recorded_is_applied_at_once() -> None:
    """The next decision is made on what the one before recorded; nothing counts as stored yet."""
    door = Door(DOOR)
    door.open()
    door.close("Anne")
    assert door.status is Status.SHUT
    assert door.recorded == (Opened(), Closed("Anne"))
    assert door.version == 0
    door.stored()
    assert door.version == 2
    assert not door.recorded


def test_given_when_then() -> None:
    """Given what happened, when something is asked, then exactly these events are recorded."""
    given(Door(DOOR), Opened()).when(Door.close, "Anne").then(Closed("Anne"))
    given(Door(DOOR)).when(Door.close, "Anne").raises(DoorNotOpen)
    given(Door(DOOR)).when(Door.close, by="Anne").raises(DoorNotOpen(Status.SHUT))
    given(Door(DOOR)).when(Door.close, "").raises(NoName)


def test_given_when_then_can_fail() -> None:
    """Each of its assertions fails when something else came of it."""
    with pytest.raises(AssertionError, match="recorded"):
        given(Door(DOOR), Opened()).when(Door.close, "Anne").then(Opened())
    with pytest.raises(AssertionError, match="it was refused"):
        given(Door(DOOR)).when(Door.close, "Anne").then()
    with pytest.raises(AssertionError, match="nothing was refused"):
        given(Door(DOOR)).when(Door.open).raises(DoorNotOpen)
    with pytest.raises(AssertionError, match="not NoName"):
        given(Door(DOOR)).when(Door.close, "Anne").raises(NoName)
    with pytest.raises(AssertionError, match="not"):
        given(Door(DOOR)).when(Door.close, "Anne").raises(DoorNotOpen(Status.OPEN))


def test_a_refusal_says_its_rule_and_its_data() -> None:
    """It renders as its docstring's first line and its fields; programs get code, kind and fields."""
    refusal = DoorNotOpen(Status.SHUT)
    assert str(refusal) == "Only an open door can be closed. (status=shut, by=nobody)"
    assert refusal.rule == "Only an open door can be closed."
    assert (refusal.code, refusal.kind) == ("DoorNotOpen", "conflict")
    assert refusal.fields == {"status": Status.SHUT, "by": "nobody"}
    assert str(NoName()) == "Who closes a door has a name."


def test_a_refusal_takes_exactly_its_fields() -> None:
    """Too many, unknown, repeated and missing fields are errors of the programmer."""
    assert DoorNotOpen(status=Status.OPEN, by="Anne").by == "Anne"
    for values, named in [
        ((Status.OPEN, "Anne", 1), {}),
        ((), {"colour": 1, "status": Status.OPEN}),
        ((Status.OPEN,), {"status": Status.OPEN}),
        ((), {}),
    ]:
        with pytest.raises(TypeError):
            DoorNotOpen(*values, **named)  # type: ignore[arg-type]


def test_invalid_is_a_value_error() -> None:
    """So that an invariant of a value is reported with its path when it is decoded."""
    assert issubclass(Invalid, ValueError)
    assert [kind.kind for kind in (Invalid, NotFound, Conflict, Forbidden)] == [
        "invalid",
        "not-found",
        "conflict",
        "forbidden",
    ]
    assert issubclass(NotFound, Refusal)
