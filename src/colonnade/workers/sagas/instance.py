"""One saga as a state machine: what it decides follows from what is recorded, and from nothing else."""

from enum import Enum
from uuid import UUID

import msgspec

from colonnade.application.saga import COMPLETED_STEP, FAILED_STEP, Why
from colonnade.domain import Aggregate, Conflict
from colonnade.persistence.reply_keys import Direction
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

__all__ = [
    "TIMED_OUT",
    "Ask",
    "Phase",
    "SagaInstance",
    "SagaOver",
    "StepNotOutstanding",
    "StepState",
]

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


class StepNotOutstanding(Conflict):
    """Only a step that was asked for and has no good answer can be skipped."""

    step: str


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A command to be sent: of a step, of its undoing, or one of the two that tell the end."""

    step: str
    undo: bool = False
    again: bool = False
    """Undone once more: it was done after it had been undone."""

    @property
    def direction(self) -> Direction:
        """What its command says."""
        if self.undo:
            return Direction.AGAIN if self.again else Direction.UNDO
        return Direction.DO


# What was asked and not answered may have been done: it is undone as well
_PERHAPS_DONE = (StepState.DONE, StepState.UNKNOWN, StepState.ASKED)

# What is done after it was one of these is to be undone, perhaps once more
_OVER = (StepState.UNDONE, StepState.UNDO_FAILED, StepState.REFUSED)


class SagaInstance(Aggregate[SagaEvent, UUID]):
    """Asks stage by stage, undoes in reverse, and ends in one of three ways.

    Each method records what happened and gives back what is to be sent now. Whether there is a command that tells of
    the failure is known only to the code: asked for `FAILED_STEP`, it calls `failing` or `not_failing`.
    """

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.phase = Phase.RUNNING
        self.steps: dict[str, StepState] = {}
        self.why: Why | None = None
        self.end: End | None = None
        self.closed = False
        self.started: SagaStarted | None = None
        self._places: dict[str, int] = {}
        self._times: dict[tuple[str, bool], int] = {}
        self._done: set[str] = set()
        self._late: dict[str, int] = {}

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
        return self._go_on()

    def times_asked(self, ask: Ask) -> int:
        """How often that was asked for."""
        return self._times.get((ask.step, ask.undo), 0)

    def awaits(self, ask: Ask) -> bool:
        """Whether that was asked for and has no answer."""
        return self.steps.get(ask.step) is (StepState.UNDOING if ask.undo else StepState.ASKED)

    def place_of(self, ask: Ask) -> int:
        """Where in its stage the step stands, from 0; the commands of the end stand alone."""
        return self._places.get(ask.step, 0)

    def awaits_any_at(self, place: int, *, undo: bool) -> bool:
        """Whether anything was asked for at this place of a stage and has no answer."""
        waiting = StepState.UNDOING if undo else StepState.ASKED
        return any(state is waiting and self._places.get(step, 0) == place for step, state in self.steps.items())

    @property
    def stuck_on(self) -> Ask | None:
        """The command of its end that it waits for: nothing but the answer takes it further."""
        last = {Phase.COMPLETING: COMPLETED_STEP, Phase.FAILING: FAILED_STEP}.get(self.phase)
        return Ask(last) if last is not None else None

    def answered(self, ask: Ask, number: int, *, code: str | None, detail: str, settled: bool = False) -> list[Ask]:
        """What was asked for the `number`th time was done, or refused with `code`.

        Answers that come again or change nothing any more are ignored; so is a refusal of what was asked for anew
        meanwhile, for its answer will come, unless what was left open is `settled` for all askings. An undoing that
        was given up and is done after all is good news, even after the end; a step that was done after it had been
        undone is undone again, even then.
        """
        if code is not None and number < self.times_asked(ask) and not settled:
            return []
        if ask.undo and number <= self._late.get(ask.step, 0):
            return []
        awaited = self.end is None and self.awaits(ask)
        if not awaited and not (code is None and self._is_news(ask)):
            return []
        self.record(StepAnswered(ask.step, ask.undo, code, detail))
        if ask.undo or code is None or self.phase not in (Phase.RUNNING, Phase.COMPLETING):
            return self._go_on()
        return self._compensate(ask.step, code, detail)

    def _is_news(self, ask: Ask) -> bool:
        """Whether it matters that this was done although nobody waits for it."""
        state = self.steps.get(ask.step)
        if self.closed:
            return False
        if ask.undo:
            return state is StepState.UNDO_FAILED
        if state is StepState.REFUSED:
            # Asked for anew before it was known that what had been left open is refused, and done then
            step = self.step(ask.step)
            return step is not None and step.undo is not None
        # The answers of a service come in order: this was done after the undoing had been answered. What was done
        # while its undoing was on its way is undone by that
        return state in (StepState.UNDONE, StepState.UNDO_FAILED) and ask.step not in self._done

    def timed_out(self, ask: Ask, number: int) -> list[Ask]:
        """Nobody answered in time: a step counts as perhaps done, an undoing as failed."""
        return self.answered(ask, number, code=TIMED_OUT, detail="there was no answer in time")

    def cancel(self, why: str) -> list[Ask]:
        """Stop and undo; one that is completing already is stopped by the refusal of its completion, or not at all."""
        if self.phase is not Phase.RUNNING:
            return []
        return self._compensate("", "cancelled", why)

    def retry(self) -> list[Ask]:
        """Ask again for all that is outstanding, or undo again what could not be undone.

        Raises `SagaOver` for one that ended well.
        """
        if self.end is not None:
            if self.end is not End.COMPENSATION_FAILED:
                raise SagaOver(self.end)
            return self._compensate("", "retried", "an operator asked again")
        undoing = self.phase is Phase.COMPENSATING
        outstanding = StepState.UNDOING if undoing else StepState.ASKED
        if (last := self.stuck_on) is not None:
            return [last] if last.step == FAILED_STEP else [self._ask(last.step)]
        return [self._ask(id, undo=undoing) for id, state in list(self.steps.items()) if state is outstanding]

    def skip(self, step: str) -> list[Ask]:
        """Count an outstanding step as done, or an undoing as undone; raises `StepNotOutstanding` or `SagaOver`."""
        state = self.steps.get(step)
        asked = state in (StepState.ASKED, StepState.UNDOING)
        untold = step == FAILED_STEP and state is StepState.REFUSED
        if not (asked or untold or state is StepState.UNDO_FAILED):
            raise StepNotOutstanding(step)
        if asked and self.end is not None:
            raise SagaOver(self.end)
        self.record(StepSkipped(step, state in (StepState.UNDOING, StepState.UNDO_FAILED)))
        return self._go_on()

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
            self.record(SagaEnded(End.COMPENSATION_FAILED, by_hand=True))

    def failing(self) -> None:
        """All is undone, and the command that tells so is sent."""
        self.record(StepAsked(FAILED_STEP, undo=False))

    def not_failing(self) -> None:
        """All is undone, and there is nobody to tell."""
        self._end_undone(told=True)

    def apply(self, event: SagaEvent) -> None:
        """Follow what happened."""
        match event:
            case SagaStarted():
                self.started = event
                self._places = {step.id: place for stage in event.stages for place, step in enumerate(stage)}
                self.steps = dict.fromkeys(self._places, StepState.WAITING)
            case StepAsked():
                self._times[event.step, event.undo] = self._times.get((event.step, event.undo), 0) + 1
                self.steps[event.step] = StepState.UNDOING if event.undo else StepState.ASKED
                if event.step == COMPLETED_STEP:
                    self.phase = Phase.COMPLETING
                elif event.step == FAILED_STEP:
                    self.phase = Phase.FAILING
            case StepAnswered(undo=True):
                self.steps[event.step] = StepState.UNDONE if event.code is None else StepState.UNDO_FAILED
                self._reopen()
            case StepAnswered(code=None) if self.steps[event.step] in _OVER:
                if times := self._times.get((event.step, True)):
                    self._late[event.step] = times
                self.steps[event.step] = StepState.UNKNOWN
                self.phase, self.end = Phase.COMPENSATING, None
            case StepAnswered():
                if event.code is None:
                    self._done.add(event.step)
                self.steps[event.step] = {None: StepState.DONE, TIMED_OUT: StepState.UNKNOWN}.get(
                    event.code, StepState.REFUSED
                )
            case StepSkipped():
                self.steps[event.step] = StepState.UNDONE if event.undo else StepState.DONE
                self._reopen()
            case Compensating():
                self.why = self.why or Why(event.step, event.code, event.detail)
                self.phase, self.end, self.closed = Phase.COMPENSATING, None, False
                for step, state in self.steps.items():
                    # What was being undone when somebody closed it was answered, if at all, to nobody
                    if state in (StepState.UNDO_FAILED, StepState.UNDOING):
                        self.steps[step] = StepState.UNKNOWN
            case SagaEnded():
                self.phase, self.end, self.closed = Phase.ENDED, event.end, event.by_hand

    def _reopen(self) -> None:
        # What could not be undone is undone after all: how it ends is to be said again
        if self.end is not None:
            self.phase, self.end, self.closed = Phase.COMPENSATING, None, False

    def _compensate(self, step: str, code: str, detail: str) -> list[Ask]:
        self.record(Compensating(step, code, detail))
        return self._go_on()

    def _go_on(self) -> list[Ask]:
        match self.phase:
            case Phase.RUNNING:
                return self._run_on()
            case Phase.COMPLETING:
                if self.steps[COMPLETED_STEP] is StepState.DONE:
                    self.record(SagaEnded(End.COMPLETED))
                return []
            case Phase.COMPENSATING:
                return self._undo_on()
            case Phase.FAILING:
                if self.steps[FAILED_STEP] is not StepState.ASKED:
                    self._end_undone(told=self.steps[FAILED_STEP] is StepState.DONE)
                return []
            case Phase.ENDED:
                return []

    def _run_on(self) -> list[Ask]:
        for stage in self.plan.stages:
            if any(self.steps[step.id] is not StepState.DONE for step in stage):
                return [self._ask(step.id) for step in stage if self.steps[step.id] is StepState.WAITING]
        if self.plan.completed is not None:
            return [self._ask(COMPLETED_STEP)]
        self.record(SagaEnded(End.COMPLETED))
        return []

    def _undo_on(self) -> list[Ask]:
        for stage in reversed(self.plan.stages):
            undoable = [step.id for step in stage if step.undo is not None]
            asks = [self._ask(step, undo=True) for step in undoable if self.steps[step] in _PERHAPS_DONE]
            if any(self.steps[step] is StepState.UNDOING for step in undoable):
                return asks
        if self.steps.get(FAILED_STEP) is StepState.DONE:
            self._end_undone(told=True)  # it was told when this was tried before
            return []
        return [Ask(FAILED_STEP)]

    def _ask(self, step: str, *, undo: bool = False) -> Ask:
        self.record(StepAsked(step, undo))
        return Ask(step, undo, undo and step in self._late)

    def _end_undone(self, *, told: bool) -> None:
        well = told and StepState.UNDO_FAILED not in self.steps.values()
        self.record(SagaEnded(End.COMPENSATED if well else End.COMPENSATION_FAILED))
