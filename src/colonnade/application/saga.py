"""Sagas: long transactions as steps, each with its undoing (Garcia-Molina and Salem, 1987)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from colonnade.messages import Command, Event

__all__ = [
    "COMPLETED_STEP",
    "DEFAULT_STEP_TIMEOUT",
    "FAILED_STEP",
    "Plan",
    "Saga",
    "Sagas",
    "Step",
    "Together",
    "Why",
    "seconds",
]

E = TypeVar("E", bound=Event)

DEFAULT_STEP_TIMEOUT = timedelta(seconds=60)

COMPLETED_STEP = "(completed)"
FAILED_STEP = "(failed)"
"""Under which ids the commands that tell the end are recorded."""


def seconds(count: float) -> timedelta:
    """A duration of `count` seconds."""
    return timedelta(seconds=count)


@dataclass(frozen=True, slots=True)
class Why:
    """Why a saga did not complete: the step that failed, the code of its refusal (or `timed-out`, `cancelled`) and
    a sentence for people."""

    step: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a saga, and the command that undoes it.

    `id` is stored, so it stays when code is renamed. A step that is not answered within `timeout` counts as unknown:
    it is undone like a step that was done. Without `undo` there is nothing to take back. A step that was left open
    (`Deferred`) may be undone before it is settled, and once more if it is settled as done after that.

    Raises `ValueError` for an id that is empty or taken, and for a timeout that is not positive.
    """

    id: str
    command: Command[None]
    undo: Command[None] | None = field(default=None, kw_only=True)
    timeout: timedelta = field(default=DEFAULT_STEP_TIMEOUT, kw_only=True)

    def __post_init__(self) -> None:
        if self.id in ("", COMPLETED_STEP, FAILED_STEP):
            raise ValueError(f"A step cannot be called {self.id!r}; give it an id that says what it does.")
        if self.timeout <= timedelta(0):
            raise ValueError(f"The step {self.id} needs a timeout above zero, not {self.timeout}.")


class Together:
    """Steps that run at the same time; the saga goes on when all of them are done."""

    __slots__ = ("steps",)

    def __init__(self, *steps: Step) -> None:
        self.steps = steps


class Plan:
    """What a saga will do, as data: steps in order, and the commands that tell its end.

    A refused `completed` command compensates. `failed` is computed when the saga has been compensated.
    Raises `ValueError` when two steps have one id.
    """

    __slots__ = ("completed", "failed", "stages")

    def __init__(
        self,
        *steps: Step | Together,
        completed: Command[None] | None = None,
        failed: Callable[[Why], Command[None]] | None = None,
    ) -> None:
        self.stages: Sequence[Sequence[Step]] = tuple(
            step.steps if isinstance(step, Together) else (step,) for step in steps
        )
        ids = [step.id for stage in self.stages for step in stage]
        if twice := sorted({id for id in ids if ids.count(id) > 1}):
            raise ValueError(f"Two steps of one plan are called {', '.join(twice)}; give each step its own id.")
        self.completed = completed
        self.failed = failed


class Saga(ABC, Generic[E]):
    """A business transaction over several services, started by an event of its own service.

    The plan is made once and stored with the instance, so that a change of the code changes new instances only; the
    `failed` command alone is computed again. Plans are pure: they read nothing but the event.
    """

    version: ClassVar[int] = 1

    oldest_version: ClassVar[int] = 1
    """Instances that began with an older version than this are suspended, and named in the service's health: this code
    does not know any more how to tell that they failed."""

    @abstractmethod
    def plan(self, event: E, /) -> Plan:
        """The steps for the occasion of `event`."""

    def key(self, event: E, /) -> UUID | None:
        """What the instance is known by, for `Sagas.cancel` and for people; None takes the event's own id."""
        return None


class Sagas(Protocol):
    """Speaks to running sagas from a command handler, in its unit of work."""

    def cancel(self, saga: type[Saga[E]], key: UUID, why: str) -> None:
        """Ask the instance known by `key` to stop and undo what it did; one that has ended is left alone."""
