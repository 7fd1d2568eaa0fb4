"""What is recorded of a saga: the plan it started with, and what became of each step."""

from enum import StrEnum
from uuid import UUID

import msgspec

from colonnade.messages import Event, Value

__all__ = [
    "Compensating",
    "End",
    "SagaEnded",
    "SagaEvent",
    "SagaStarted",
    "StepAnswered",
    "StepAsked",
    "StepSkipped",
    "StoredMessage",
    "StoredStep",
]


class End(StrEnum):
    """How a saga ends."""

    COMPLETED = "COMPLETED"
    COMPENSATED = "COMPENSATED"
    COMPENSATION_FAILED = "COMPENSATION_FAILED"


class StoredMessage(Value):
    """A message as the log keeps it: stored name, version of its schema, JSON."""

    name: str
    version: int
    data: msgspec.Raw


class StoredStep(Value):
    """A step of a plan; `timeout` in microseconds."""

    id: str
    command: StoredMessage
    undo: StoredMessage | None
    timeout: int


class SagaStarted(Event):
    """A saga began, with this plan for ever."""

    saga: str
    saga_version: int
    key: UUID
    trigger: StoredMessage
    stages: tuple[tuple[StoredStep, ...], ...]
    completed: StoredMessage | None


class StepAsked(Event):
    """The command of a step, or of its undoing, was sent."""

    step: str
    undo: bool


class StepAnswered(Event):
    """A step was done, or refused with `code`; `timed-out` when nobody knows."""

    step: str
    undo: bool
    code: str | None = None
    detail: str = ""


class StepSkipped(Event):
    """Somebody decided that a step counts as done, or as undone."""

    step: str
    undo: bool


class Compensating(Event):
    """From here on what was done is undone."""

    step: str
    code: str
    detail: str


class SagaEnded(Event):
    """Nothing more will happen by itself; `by_hand` when somebody closed it as it stood."""

    end: End
    by_hand: bool = False


SagaEvent = SagaStarted | StepAsked | StepAnswered | StepSkipped | Compensating | SagaEnded
