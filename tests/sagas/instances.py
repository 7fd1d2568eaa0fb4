"""One saga among services that do, refuse, forget and repeat as a test wants, and what may be said of it any time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

import msgspec

from colonnade.application.saga import COMPLETED_STEP, FAILED_STEP
from colonnade.workers.sagas.history import (
    End,
    SagaEvent,
    SagaStarted,
    StepAnswered,
    StepAsked,
    StoredMessage,
    StoredStep,
)
from colonnade.workers.sagas.instance import (
    TIMED_OUT,
    Ask,
    Phase,
    SagaInstance,
    StepState,
)

ID = UUID(int=1)
_MESSAGE = StoredMessage("shop.Message", 1, msgspec.Raw(b"{}"))


@dataclass(frozen=True)
class Drawn:
    """A plan: of each stage's steps whether they can be undone, and whether the end is told."""

    stages: Sequence[Sequence[bool]]
    completed: bool = False
    failed: bool = False

    @property
    def started(self) -> SagaStarted:
        """What the saga starts with; steps are called by stage and place."""
        stages = tuple(
            tuple(
                StoredStep(f"{stage}.{place}", _MESSAGE, _MESSAGE if undo else None, 1)
                for place, undo in enumerate(steps)
            )
            for stage, steps in enumerate(self.stages)
        )
        return SagaStarted("Ship", 1, ID, _MESSAGE, stages, _MESSAGE if self.completed else None)


@dataclass(frozen=True)
class Answer:
    """What a service says of a command."""

    ask: Ask
    number: int
    code: str | None
    settled: bool = False


@dataclass
class Service:
    """What carries one step out: in the order in which it was asked, each once, and never what was undone first."""

    asked: list[tuple[Ask, int]] = field(default_factory=list)
    open: Answer | None = None
    in_force: bool = False
    """Whether the step has an effect that was not taken back."""
    _marks: set[str] = field(default_factory=set)

    def carry_out(self, *, well: bool, later: bool = False) -> Answer | None:
        """Handle the next command, well or by refusing it; a step may be left open, which gives no answer yet."""
        ask, number = self.asked.pop(0)
        if not ask.undo:
            well = self._do(Answer(ask, number, None), well=well, later=later)
            if self.open is not None:
                return None
        elif ask.again and {"undone", "left open"} <= self._marks:
            well = self._undo("undone again", well=well)
        else:
            well = self._undo("undone", well=well)
        return Answer(ask, number, None if well else "shop.Refused")

    def _do(self, answer: Answer, *, well: bool, later: bool) -> bool:
        if "undone" in self._marks:
            return False
        if "done" in self._marks:
            return True
        if later:
            self._marks |= {"done", "left open"}
            self.open = answer
        elif well:
            self._marks.add("done")
            self.in_force = True
        return well

    def _undo(self, mark: str, *, well: bool) -> bool:
        if mark not in self._marks and "done" in self._marks:
            if not well:
                return False
            self.in_force = False
        self._marks.add(mark)
        return True

    def settle(self, *, well: bool) -> Answer:
        """What was left open is done, or refused."""
        assert self.open is not None
        answer = Answer(self.open.ask, self.open.number, None if well else "shop.Refused", settled=True)
        self.open = None
        if well:
            self.in_force = True
        else:
            self._marks -= {"done", "left open"}
        return answer


class Journey:
    """Drives a saga, and holds it to its laws after each thing that happens to it."""

    def __init__(self, plan: Drawn) -> None:
        self.plan = plan
        self.saga = SagaInstance(ID)
        self.services: dict[str, Service] = {}
        self.answers: list[Answer] = []
        self.heard: list[Answer] = []
        self.send(self.saga.start(plan.started))

    @property
    def history(self) -> Sequence[SagaEvent]:
        """All that is recorded."""
        return cast(Sequence[SagaEvent], self.saga.recorded)

    @property
    def outstanding(self) -> Sequence[Ask]:
        """What the saga waits for."""
        return [
            Ask(step, state is StepState.UNDOING)
            for step, state in self.saga.steps.items()
            if state in (StepState.ASKED, StepState.UNDOING)
        ]

    @property
    def undoable(self) -> Sequence[str]:
        """The steps that can be undone."""
        return [step.id for stage in self.saga.plan.stages for step in stage if step.undo is not None]

    def ended(self) -> End | None:
        """How it ended."""
        return self.saga.end

    def service(self, step: str) -> Service:
        """What carries `step` out."""
        return self.services.setdefault(step, Service())

    def send(self, asks: Sequence[Ask]) -> None:
        """Send what the saga asks for, as its consumer does."""
        for ask in asks:
            if ask.step == FAILED_STEP:
                if not self.plan.failed:
                    self.saga.not_failing()
                    continue
                self.saga.failing()
            self._may_be_sent(ask)
            self.service(ask.step).asked.append((ask, self.saga.times_asked(ask)))
        self._is_what_its_history_tells()

    def sent_back(self, answer: Answer | None) -> None:
        """An answer is on its way."""
        if answer is not None:
            self.answers.append(answer)

    def hear(self, answer: Answer) -> None:
        """Let an answer arrive."""
        self.heard.append(answer)
        ended, before = self.saga.end, len(self.history)
        asks = self.saga.answered(answer.ask, answer.number, code=answer.code, detail="because", settled=answer.settled)
        self.send(asks)
        if ended is not None and len(self.history) > before:
            # Only what was done too late is news, which is undone again, or what could be undone after all
            assert ended is not End.COMPLETED
            assert answer.code is None
            was_undone = self.saga.times_asked(Ask(answer.ask.step, undo=True)) > len(asks)
            again = Ask(answer.ask.step, undo=True, again=was_undone)
            assert {*asks} <= ({Ask(FAILED_STEP)} if answer.ask.undo else {again})

    def _may_be_sent(self, ask: Ask) -> None:
        """What is asked for fits what is known."""
        stages, states = self.saga.plan.stages, self.saga.steps
        if ask.step == COMPLETED_STEP:
            assert self.saga.phase is Phase.COMPLETING
            assert {states[step.id] for stage in stages for step in stage} <= {StepState.DONE}
        elif ask.step == FAILED_STEP:
            assert self.saga.phase is Phase.FAILING
            assert not {states[step] for step in self.undoable} & _IN_FORCE
            assert StepAnswered(FAILED_STEP, undo=False, detail="because") not in self.history
        else:
            at = next(number for number, stage in enumerate(stages) if any(step.id == ask.step for step in stage))
            if ask.undo:
                assert self.saga.phase is Phase.COMPENSATING
                assert self._perhaps_done(ask.step)
                later = {step.id for stage in stages[at + 1 :] for step in stage} & {*self.undoable}
                assert not {states[step] for step in later} & _IN_FORCE
            else:
                assert self.saga.phase is Phase.RUNNING
                assert {states[step.id] for stage in stages[:at] for step in stage} <= {StepState.DONE}

    def _perhaps_done(self, step: str) -> bool:
        """Whether it was asked for, and is not what was refused at last."""
        assert StepAsked(step, undo=False) in self.history
        told = [event for event in self.history if isinstance(event, StepAnswered) and event.step == step]
        done = [answer for answer in told if not answer.undo]
        return not done or done[-1].code in (None, TIMED_OUT)

    def _is_what_its_history_tells(self) -> None:
        """Replayed, it is in the state in which it is."""
        again = SagaInstance(ID)
        again.replay(self.history)
        assert _state(again) == _state(self.saga)


_IN_FORCE = {StepState.ASKED, StepState.DONE, StepState.UNKNOWN, StepState.UNDOING}


def _state(saga: SagaInstance) -> dict[str, object]:
    return {name: value for name, value in vars(saga).items() if name not in ("_recorded", "_version")}
