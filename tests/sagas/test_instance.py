"""A saga as a state machine: whatever happens in whatever order, it ends, and says how."""

from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from colonnade.application.saga import COMPLETED_STEP, FAILED_STEP
from colonnade.workers.sagas.history import End
from colonnade.workers.sagas.instance import SagaOver, StepNotOutstanding, StepState
from tests.sagas.instances import Drawn, Journey

mostly_undoable = st.sampled_from([True, True, False])
stages = st.lists(st.lists(mostly_undoable, min_size=1, max_size=3), max_size=4)
plans = st.builds(Drawn, stages, st.booleans(), st.booleans())
mostly = st.sampled_from([True, True, True, False])
seldom = st.sampled_from([False, False, False, False, True])


class LeftAlone(RuleBasedStateMachine):
    """Services do and refuse, answers come late and come twice, time runs out, somebody asks it to stop."""

    journey: Journey

    @initialize(plan=plans)
    def begin(self, plan: Drawn) -> None:
        """Start on the event."""
        self.journey = Journey(plan)

    @precondition(lambda self: any(service.asked for service in self.journey.services.values()))
    @rule(data=st.data(), well=mostly, later=seldom)
    def carry_out(self, data: st.DataObject, well: bool, later: bool) -> None:
        """One service handles its next command; its answer is on its way, if it gives one."""
        busy = [step for step, service in self.journey.services.items() if service.asked]
        service = self.journey.service(data.draw(st.sampled_from(busy)))
        self.journey.sent_back(service.carry_out(well=well, later=later))

    @precondition(lambda self: any(service.open for service in self.journey.services.values()))
    @rule(data=st.data(), well=mostly)
    def settle(self, data: st.DataObject, well: bool) -> None:
        """What was left open is done after all, or not."""
        waiting = [step for step, service in self.journey.services.items() if service.open]
        self.journey.sent_back(self.journey.service(data.draw(st.sampled_from(waiting))).settle(well=well))

    @precondition(lambda self: self.journey.answers)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """An answer arrives; those of one service come in their order."""
        answers = self.journey.answers
        first = {answer.ask.step: answer for answer in reversed(answers)}
        answer = data.draw(st.sampled_from(list(first.values())))
        answers.remove(answer)
        self.journey.hear(answer)

    @precondition(lambda self: self.journey.heard)
    @rule(data=st.data())
    def hear_again(self, data: st.DataObject) -> None:
        """An answer arrives that arrived before."""
        self.journey.hear(data.draw(st.sampled_from(self.journey.heard)))

    @precondition(lambda self: any(ask.step not in (COMPLETED_STEP, FAILED_STEP) for ask in self.journey.outstanding))
    @rule(data=st.data())
    def time_out(self, data: st.DataObject) -> None:
        """The time of a step or of its undoing is over."""
        asks = [ask for ask in self.journey.outstanding if ask.step not in (COMPLETED_STEP, FAILED_STEP)]
        ask = data.draw(st.sampled_from(asks))
        number = data.draw(st.integers(1, self.journey.saga.times_asked(ask)))
        before = len(self.journey.history)
        self.journey.send(self.journey.saga.timed_out(ask, number))
        if number < self.journey.saga.times_asked(ask):
            assert len(self.journey.history) == before

    @rule(now=seldom)
    def cancel(self, now: bool) -> None:
        """Somebody asks it to stop."""
        if now:
            self.journey.send(self.journey.saga.cancel("not wanted any more"))

    def teardown(self) -> None:
        """When all is carried out and heard it has ended, and what it says of its end is true."""
        if not hasattr(self, "journey"):
            return
        services = self.journey.services
        while self.journey.answers or any(service.asked or service.open for service in services.values()):
            for service in list(services.values()):
                if service.asked:
                    self.journey.sent_back(service.carry_out(well=True))
                elif service.open:
                    self.journey.sent_back(service.settle(well=True))
            while self.journey.answers:
                self.journey.hear(self.journey.answers.pop(0))
        assert self.journey.saga.end is not None
        self.holds_at_the_end(self.journey.saga.end)

    def holds_at_the_end(self, end: End) -> None:
        """What has an effect still is all of it, nothing of it, or what could not be undone."""
        states, services = self.journey.saga.steps, self.journey.services
        in_force = {step for step, service in services.items() if service.in_force}
        lost = {step for step, state in states.items() if state is StepState.UNDO_FAILED}
        untold = states.get(FAILED_STEP) is StepState.REFUSED
        if end is End.COMPLETED:
            assert in_force == {*states}
        else:
            assert in_force & {*self.journey.undoable} <= lost
            assert (end is End.COMPENSATION_FAILED) == (bool(lost) or untold)


class Steered(LeftAlone):
    """As before, and people take it further by hand."""

    trusted = True

    @rule()
    def retry(self) -> None:
        """Ask again for what is outstanding, or could not be undone."""
        with suppress(SagaOver):
            self.journey.send(self.journey.saga.retry())

    @rule(now=seldom)
    def compensate(self, now: bool) -> None:
        """Undo, whatever it waits for."""
        with suppress(SagaOver):
            if now:
                self.journey.send(self.journey.saga.compensate_by_hand())

    @rule(data=st.data(), now=seldom)
    def skip(self, data: st.DataObject, now: bool) -> None:
        """Count what is outstanding as done or undone."""
        steps = [*self.journey.saga.steps, "a step that there is not"] if now else ["a step that there is not"]
        with suppress(SagaOver, StepNotOutstanding):
            self.journey.send(self.journey.saga.skip(data.draw(st.sampled_from(steps))))
            self.trusted = False

    @rule(now=seldom)
    def close(self, now: bool) -> None:
        """End it as it stands."""
        if now:
            self.trusted = self.trusted and self.journey.saga.end is not None
            self.journey.saga.close()
            assert self.journey.saga.end is not None

    def holds_at_the_end(self, end: End) -> None:
        """What a person says is done or undone is taken for it; else as for those left alone."""
        if self.trusted:
            super().holds_at_the_end(end)


TestLeftAlone = LeftAlone.TestCase
TestLeftAlone.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

TestSteered = Steered.TestCase
TestSteered.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
