"""What a saga asks for next, case by case."""

from collections.abc import Sequence

import pytest

from colonnade.application.saga import COMPLETED_STEP, FAILED_STEP
from colonnade.workers.sagas.history import End
from colonnade.workers.sagas.instance import Ask, SagaOver, StepNotOutstanding, StepState
from tests.sagas.instances import Answer, Drawn, Journey

THREE = Drawn([[True], [True], [True]], completed=True, failed=True)


def answered(journey: Journey, *steps: str, undo: bool = False, code: str | None = None) -> Sequence[Ask]:
    """What is sent when the steps are answered one after the other."""
    before = {step: len(service.asked) for step, service in journey.services.items()}
    for step in steps:
        ask = Ask(step, undo)
        journey.hear(Answer(ask, journey.saga.times_asked(ask), code))
    return [ask for step, service in journey.services.items() for ask, _ in service.asked[before.get(step, 0) :]]


def undone(*steps: str) -> list[Ask]:
    """The undoing of steps."""
    return [Ask(step, undo=True) for step in steps]


def test_steps_follow_each_other_and_the_end_is_told() -> None:
    """One step is asked for when the one before it is done, and `completed` when all are."""
    journey = Journey(THREE)
    assert journey.outstanding == [Ask("0.0")]
    assert answered(journey, "0.0") == [Ask("1.0")]
    assert answered(journey, "1.0") == [Ask("2.0")]
    assert answered(journey, "2.0") == [Ask(COMPLETED_STEP)]
    assert answered(journey, COMPLETED_STEP) == []
    assert journey.ended() is End.COMPLETED


def test_steps_together_are_asked_for_and_undone_at_once() -> None:
    """The saga goes on when all of a stage are answered, forwards and backwards."""
    journey = Journey(Drawn([[True, True], [True]]))
    assert journey.outstanding == [Ask("0.0"), Ask("0.1")]
    assert answered(journey, "0.1") == []
    assert answered(journey, "0.0") == [Ask("1.0")]
    assert answered(journey, "1.0", code="shop.Refused") == undone("0.0", "0.1")
    assert answered(journey, "0.0", undo=True) == []
    assert answered(journey, "0.1", undo=True) == []
    assert journey.ended() is End.COMPENSATED


def test_a_refusal_is_undone_in_reverse_and_told_with_its_reason() -> None:
    """What was refused is not undone; `failed` is told when all the rest is."""
    journey = Journey(THREE)
    answered(journey, "0.0", "1.0")
    assert answered(journey, "2.0", code="shop.Refused") == undone("1.0")
    assert answered(journey, "1.0", undo=True) == undone("0.0")
    assert answered(journey, "0.0", undo=True) == [Ask(FAILED_STEP)]
    answered(journey, FAILED_STEP)
    assert journey.ended() is End.COMPENSATED
    assert journey.saga.why is not None
    assert (journey.saga.why.step, journey.saga.why.code) == ("2.0", "shop.Refused")


def test_a_refused_completion_compensates() -> None:
    """Nothing is complete before somebody was told so and agreed."""
    journey = Journey(THREE)
    answered(journey, "0.0", "1.0", "2.0")
    assert answered(journey, COMPLETED_STEP, code="shop.Closed") == undone("2.0")


def test_a_completion_on_its_way_is_not_overtaken_by_a_cancellation() -> None:
    """Whoever is asked to complete it may refuse, which stops it."""
    journey = Journey(THREE)
    answered(journey, "0.0", "1.0", "2.0")
    assert journey.saga.cancel("not wanted any more") == []
    answered(journey, COMPLETED_STEP)
    assert journey.ended() is End.COMPLETED


def test_a_step_of_unknown_outcome_is_undone() -> None:
    """One that timed out may have been done; so may one that was outstanding when it was cancelled."""
    journey = Journey(THREE)
    answered(journey, "0.0")
    assert journey.saga.timed_out(Ask("1.0"), 1) == undone("1.0")
    journey = Journey(THREE)
    answered(journey, "0.0")
    assert journey.saga.cancel("not wanted any more") == undone("1.0")


def test_an_undoing_that_failed_is_told_and_the_rest_is_undone_all_the_same() -> None:
    """It ends as not undone; when the undoing is done after all, it has been compensated."""
    journey = Journey(Drawn([[True], [True]]))
    answered(journey, "0.0")
    journey.send(journey.saga.cancel("not wanted any more"))
    assert journey.saga.timed_out(Ask("1.0", undo=True), 1) == undone("0.0")
    answered(journey, "0.0", undo=True)
    assert journey.ended() is End.COMPENSATION_FAILED
    assert answered(journey, "1.0", undo=True) == []
    assert journey.ended() is End.COMPENSATED


def test_what_is_undone_again_is_not_undone_by_what_was_answered_before() -> None:
    """Only the answer to its own asking counts for it."""
    journey = Journey(Drawn([[True]]))
    journey.send(journey.saga.cancel("not wanted any more"))
    first = Answer(Ask("0.0", undo=True), 1, None)
    journey.hear(first)
    journey.hear(Answer(Ask("0.0"), 1, None))
    assert journey.outstanding == undone("0.0")
    journey.hear(first)
    assert journey.ended() is None
    assert answered(journey, "0.0", undo=True, code="shop.Refused") == []
    assert journey.ended() is End.COMPENSATION_FAILED


def test_what_could_not_be_undone_is_retried_by_hand() -> None:
    """Each undoing that failed is asked for again, and nothing else."""
    journey = Journey(Drawn([[True], [True]]))
    answered(journey, "0.0", "1.0")
    assert journey.ended() is End.COMPLETED
    with pytest.raises(SagaOver):
        journey.saga.retry()
    journey = Journey(Drawn([[True], [True]]))
    answered(journey, "0.0")
    answered(journey, "1.0", code="shop.Refused")
    answered(journey, "0.0", undo=True, code="shop.Refused")
    assert journey.ended() is End.COMPENSATION_FAILED
    asks = journey.saga.retry()
    assert asks == undone("0.0")
    journey.send(asks)
    answered(journey, "0.0", undo=True)
    assert journey.ended() is End.COMPENSATED


def test_an_undoing_that_was_outstanding_when_somebody_closed_it_is_asked_for_again() -> None:
    """Its answer may have come while nobody listened."""
    journey = Journey(Drawn([[True]]))
    asks = journey.saga.cancel("not wanted any more")
    journey.send(asks)
    journey.saga.close()
    answered(journey, "0.0", undo=True)
    assert journey.ended() is End.COMPENSATION_FAILED
    assert journey.saga.retry() == undone("0.0")


def test_what_was_asked_for_anew_is_not_given_up_for_what_came_of_it_before() -> None:
    """The refusal or the time-out of the first asking is ignored once there is a second."""
    journey = Journey(Drawn([[True]]))
    journey.send(journey.saga.retry())
    assert journey.saga.times_asked(Ask("0.0")) == 2
    assert journey.saga.timed_out(Ask("0.0"), 1) == []
    journey.hear(Answer(Ask("0.0"), 1, "shop.Expired"))
    assert journey.saga.steps == {"0.0": StepState.ASKED}
    journey.hear(Answer(Ask("0.0"), 1, None))
    assert journey.ended() is End.COMPLETED


def test_only_what_is_outstanding_is_skipped() -> None:
    """A step that is done, or not asked for yet, or does not exist, is refused."""
    journey = Journey(THREE)
    assert journey.saga.skip("0.0") == [Ask("1.0")]
    for step in ("0.0", "2.0", "9.9"):
        with pytest.raises(StepNotOutstanding):
            journey.saga.skip(step)


def test_what_was_outstanding_at_a_closed_end_is_not_skipped() -> None:
    """Closed, it takes nothing in any more; it can be retried."""
    journey = Journey(THREE)
    journey.saga.close()
    with pytest.raises(SagaOver):
        journey.saga.skip("0.0")


def test_a_saga_that_is_being_undone_is_not_told_twice() -> None:
    """To compensate it by hand changes nothing."""
    journey = Journey(THREE)
    journey.send(journey.saga.cancel("not wanted any more"))
    before = len(journey.history)
    assert journey.saga.compensate_by_hand() == []
    assert len(journey.history) == before


def test_somebody_compensates_a_saga_that_waits_to_be_completed() -> None:
    """Whatever becomes of the completion, all is undone."""
    journey = Journey(Drawn([[True]], completed=True))
    answered(journey, "0.0")
    asks = journey.saga.compensate_by_hand()
    assert asks == undone("0.0")
    journey.send(asks)
    assert answered(journey, COMPLETED_STEP) == []
    answered(journey, "0.0", undo=True)
    assert journey.ended() is End.COMPENSATED
    with pytest.raises(SagaOver):
        journey.saga.compensate_by_hand()


def test_a_failure_that_could_not_be_told_is_no_good_end() -> None:
    """It is told again by hand, or counts as told."""
    for skipped in (False, True):
        journey = Journey(Drawn([[True]], failed=True))
        answered(journey, "0.0", code="shop.Refused")
        answered(journey, FAILED_STEP, code="shop.Closed")
        assert journey.ended() is End.COMPENSATION_FAILED
        journey.send(journey.saga.skip(FAILED_STEP) if skipped else journey.saga.retry())
        if journey.ended() is None:
            answered(journey, FAILED_STEP)
        assert journey.ended() is End.COMPENSATED


def test_a_failure_is_told_once() -> None:
    """What was told while something could not be undone is not told again when that is retried."""
    journey = Journey(Drawn([[True]], failed=True))
    journey.send(journey.saga.cancel("not wanted any more"))
    assert answered(journey, "0.0", undo=True, code="shop.Refused") == [Ask(FAILED_STEP)]
    answered(journey, FAILED_STEP)
    assert journey.ended() is End.COMPENSATION_FAILED
    journey.send(journey.saga.retry())
    assert answered(journey, "0.0", undo=True) == []
    assert journey.ended() is End.COMPENSATED


def test_a_step_that_is_done_after_it_was_refused_is_undone() -> None:
    """Left open, asked for anew, refused when it was settled, and then done as it was asked for anew."""
    journey = Journey(Drawn([[True, True]]))
    answered(journey, "0.1")
    journey.send(journey.saga.retry())
    journey.hear(Answer(Ask("0.0"), 1, "shop.Refused", settled=True))
    answered(journey, "0.1", undo=True)
    assert journey.ended() is End.COMPENSATED
    assert answered(journey, "0.0") == undone("0.0")
    answered(journey, "0.0", undo=True)
    assert journey.ended() is End.COMPENSATED
