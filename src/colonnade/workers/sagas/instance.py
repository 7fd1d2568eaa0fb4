"""One saga as a state machine: what it decides follows from what is recorded, and from nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from colonnade.application import Why
from colonnade.domain import Aggregate, Conflict
from colonnade.workers.sagas.history import (
    Compensating,
    End,
    SagaEnded,
    SagaEvent,
    SagaStarted,
    StepAnswered,
    StepAsked,
    StepSkipped,
    StoredStep,
)

__all__ = ["COMPLETED_STEP", "FAILED_STEP", "TIMED_OUT", "Ask", "Phase", "SagaInstance", "SagaOver", "StepState"]

COMPLETED_STEP = "(completed)"
FAILED_STEP = "(failed)"
TIMED_OUT = "timed-out"


class Phase(Enum):
    """What a saga is about."""

    RUNNING = "running"
    COMPLETING = "completing"
    COMPENSATING = "compensating"
    FAILING = "failing"
    ENDED = "ended"


class StepState(Enum):
    """What is known of a step."""

    WAITING = "waiting"
    ASKED = "asked"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo failed"


class SagaOver(Conflict):
    """A saga that has ended cannot be steered any more."""

    end: End


@dataclass(frozen=True, slots=True)
class Ask:
    """A command to be sent: of a step, of its undoing, or one of the two that tell the end."""

    step: str
    undo: bool = False


class SagaInstance(Aggregate[SagaEvent, UUID]):
    """Asks stage by stage, undoes in reverse, and ends in one of three ways.

    Each method records what happened and gives back what is to be sent now.
    """

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.phase = Phase.RUNNING
        self.steps: dict[str, StepState] = {}
        self.why: Why | None = None
        self.end: End | None = None
        self.started: SagaStarted | None = None

    @property
    def plan(self) -> SagaStarted:
        """What it started with."""
        assert self.started is not None, "a saga begins with SagaStarted"
        return self.started

    def step(self, id: str) -> StoredStep | None:
        """The step of that id, if it is one of the plan's own."""
        return next((step for stage in self.plan.stages for step in stage if step.id == id), None)

    def start(self, started: SagaStarted) -> list[Ask]:
        """Begin."""
        self.record(started)
        return list(self._go_on())

    def answered(self, step: str, *, undo: bool, code: str | None, detail: str) -> list[Ask]:
        """A command was done, or refused with `code`. Answers that come again or too late change nothing."""
        awaited = StepState.UNDOING if undo else StepState.ASKED
        if self.end is not None or self.steps.get(step) is not awaited:
            return []
        self.record(StepAnswered(step, undo, code, detail))
        if step == FAILED_STEP or undo or code is None:
            return list(self._go_on())
        return self._compensate(step, code, detail)

    def timed_out(self, step: str, *, undo: bool) -> list[Ask]:
        """Nobody answered in time: a step counts as perhaps done, an undoing as failed."""
        return self.answered(step, undo=undo, code=TIMED_OUT, detail="there was no answer in time")

    def cancel(self, why: str) -> list[Ask]:
        """Stop and undo; one that is completing already is stopped by the refusal of its completion, or not at all."""
        if self.end is not None or self.phase is not Phase.RUNNING:
            return []
        return self._compensate("", "cancelled", why)

    def retry(self) -> list[Ask]:
        """Ask again for all that is outstanding or could not be undone; raises `SagaOver` for one that ended well."""
        if self.end in (End.COMPLETED, End.COMPENSATED):
            raise SagaOver(self.end)
        asks = [
            Ask(id, undo=True)
            for id, state in self.steps.items()
            if state in (StepState.UNDOING, StepState.UNDO_FAILED)
        ]
        asks += [Ask(id) for id, state in self.steps.items() if state is StepState.ASKED]
        if self.steps.get(FAILED_STEP) is StepState.REFUSED:
            asks.append(Ask(FAILED_STEP))
        for ask in asks:
            if ask.step != FAILED_STEP:
                self.record(StepAsked(ask.step, ask.undo))
        return asks

    def skip(self, step: str) -> list[Ask]:
        """Count an outstanding step as done, or an outstanding undoing as undone."""
        state = self.steps.get(step)
        if state not in (StepState.ASKED, StepState.UNDOING, StepState.UNDO_FAILED):
            return []
        self.record(StepSkipped(step, state is not StepState.ASKED))
        return list(self._go_on())

    def compensate_by_hand(self) -> list[Ask]:
        """Undo, whatever it waits for; raises `SagaOver` once it has ended."""
        if self.end is not None:
            raise SagaOver(self.end)
        if self.phase in (Phase.COMPENSATING, Phase.FAILING):
            return []
        return self._compensate("", "compensated by hand", "an operator decided so")

    def close(self) -> None:
        """End it as it stands."""
        if self.end is None:
            self.record(SagaEnded(End.COMPENSATION_FAILED))

    def apply(self, event: SagaEvent) -> None:
        """Follow what happened."""
        match event:
            case SagaStarted():
                self.started = event
                self.steps = {step.id: StepState.WAITING for stage in event.stages for step in stage}
            case StepAsked():
                self.end = None
                self.steps[event.step] = StepState.UNDOING if event.undo else StepState.ASKED
                if event.step == COMPLETED_STEP:
                    self.phase = Phase.COMPLETING
                elif event.step == FAILED_STEP:
                    self.phase = Phase.FAILING
                elif event.undo:
                    self.phase = Phase.COMPENSATING
            case StepAnswered(undo=True):
                self.steps[event.step] = StepState.UNDONE if event.code is None else StepState.UNDO_FAILED
            case StepAnswered():
                self.steps[event.step] = {None: StepState.DONE, TIMED_OUT: StepState.UNKNOWN}.get(
                    event.code, StepState.REFUSED
                )
            case StepSkipped():
                self.steps[event.step] = StepState.UNDONE if event.undo else StepState.DONE
            case Compensating():
                self.phase = Phase.COMPENSATING
                self.why = Why(event.step, event.code, event.detail)
            case SagaEnded():
                self.phase, self.end = Phase.ENDED, event.end

    def _compensate(self, step: str, code: str, detail: str) -> list[Ask]:
        self.record(Compensating(step, code, detail))
        return list(self._go_on())

    def _go_on(self) -> Iterator[Ask]:
        match self.phase:
            case Phase.RUNNING:
                yield from self._run_on()
            case Phase.COMPLETING:
                if self.steps[COMPLETED_STEP] is StepState.DONE:
                    self.record(SagaEnded(End.COMPLETED))
            case Phase.COMPENSATING:
                yield from self._undo_on()
            case Phase.FAILING:
                state = self.steps[FAILED_STEP]
                if state is not StepState.ASKED:
                    self._end_undone(told=state is StepState.DONE)
            case Phase.ENDED:
                return

    def _run_on(self) -> Iterator[Ask]:
        for stage in self.plan.stages:
            if all(self.steps[step.id] is StepState.DONE for step in stage):
                continue
            for step in stage:
                if self.steps[step.id] is StepState.WAITING:
                    self.record(StepAsked(step.id, undo=False))
                    yield Ask(step.id)
            return
        if self.plan.completed is None:
            self.record(SagaEnded(End.COMPLETED))
        else:
            self.record(StepAsked(COMPLETED_STEP, undo=False))
            yield Ask(COMPLETED_STEP)

    def _undo_on(self) -> Iterator[Ask]:
        # What was asked and not answered may have been done: it is undone as well
        perhaps_done = (StepState.DONE, StepState.UNKNOWN, StepState.ASKED)
        for stage in reversed(self.plan.stages):
            undoable = [step for step in stage if step.undo is not None]
            for step in undoable:
                if self.steps[step.id] in perhaps_done:
                    self.record(StepAsked(step.id, undo=True))
                    yield Ask(step.id, undo=True)
            if any(self.steps[step.id] is StepState.UNDOING for step in undoable):
                return
        yield Ask(FAILED_STEP)

    def failing(self) -> None:
        """All is undone, and the command that tells so is sent."""
        self.record(StepAsked(FAILED_STEP, undo=False))

    def not_failing(self) -> None:
        """All is undone, and there is nobody to tell."""
        self._end_undone(told=True)

    def _end_undone(self, *, told: bool) -> None:
        well = told and StepState.UNDO_FAILED not in self.steps.values()
        self.record(SagaEnded(End.COMPENSATED if well else End.COMPENSATION_FAILED))
