"""Tests of aggregates that read as sentences: given what happened, when this is asked, then that."""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from colonnade.domain import Aggregate, Refusal
from colonnade.messages import Event

__all__ = ["Given", "When", "given"]

A = TypeVar("A", bound=Aggregate[Any, Any])
P = ParamSpec("P")


class When:
    """What came of asking the aggregate."""

    def __init__(self, recorded: Sequence[Event], refusal: Refusal | None) -> None:
        self._recorded = list(recorded)
        self._refusal = refusal

    def then(self, *events: Event) -> None:
        """Exactly `events` were recorded, in this order, and nothing was refused."""
        if self._refusal is not None:
            raise AssertionError(f"it was refused: {self._refusal}") from self._refusal
        if self._recorded != list(events):
            raise AssertionError(f"recorded {self._recorded}, not {list(events)}")

    def raises(self, refusal: type[Refusal] | Refusal) -> None:
        """It was refused with `refusal`; an instance must have the same fields."""
        if self._refusal is None:
            raise AssertionError(f"nothing was refused; recorded {self._recorded}")
        kind = refusal if isinstance(refusal, type) else type(refusal)
        if type(self._refusal) is not kind:
            raise AssertionError(f"refused with {self._refusal!r}, not {kind.__name__}") from self._refusal
        if isinstance(refusal, Refusal) and refusal.fields != self._refusal.fields:
            raise AssertionError(f"refused with {self._refusal.fields}, not {refusal.fields}") from self._refusal


class Given(Generic[A]):
    """An aggregate to which something has happened."""

    def __init__(self, aggregate: A, events: Sequence[Event]) -> None:
        aggregate.replay(events)
        self._aggregate = aggregate

    def when(self, method: Callable[Concatenate[A, P], object], *values: P.args, **named: P.kwargs) -> When:
        """Ask the aggregate."""
        refusal = None
        try:
            method(self._aggregate, *values, **named)
        except Refusal as refused:
            refusal = refused
        return When(self._aggregate.recorded, refusal)


def given(aggregate: A, *events: Event) -> Given[A]:
    """An aggregate to which `events` have happened: `given(order, placed).when(Order.confirm).then(confirmed)`."""
    return Given(aggregate, events)
