"""The checker of the proof under faults finds what it is there to find."""

from dataclasses import replace
from uuid import UUID

import msgspec
import pytest
from colonnade.messages.envelope import Envelope
from colonnade.persistence.reply import Reply
from colonnade.world import real_world
from grocer.tests.chaos.ledger import Effect, Ledger, Sent

NOW = real_world().clock.now()


def sent(number: int, type: str, topic: str, reply_key: str | None = None) -> Sent:
    """A message for one key, in its place."""
    envelope = Envelope(
        specversion="1.0",
        id=UUID(int=number),
        source="ordering",
        type=type,
        subject="a",
        time=NOW,
        data=msgspec.Raw(b"{}"),
        correlationid=UUID(int=1),
        replykey=reply_key,
    )
    return Sent("ordering", topic, 0, number, "a", envelope)


@pytest.fixture
def ledger() -> Ledger:
    """Two commands and an event, each of which had its effects, in order."""
    ledger = Ledger()
    ledger.sent = [
        sent(1, "inventory.ReserveGoods", "inventory.commands"),
        sent(2, "inventory.ReleaseGoods", "inventory.commands"),
        sent(3, "ordering.OrderRejected", "ordering.events"),
    ]
    for number, service, position in ((1, "inventory", 10), (2, "inventory", 11), (3, "notifications", 5)):
        ledger.effects[service, UUID(int=number)] = [Effect(position, f"effect of {number}")]
    return ledger


def test_books_that_are_whole_show_nothing(ledger: Ledger) -> None:
    """No message is lost, doubled or out of order."""
    assert (ledger.lost(), ledger.doubled(), ledger.disordered()) == ([], [], [])


def test_a_message_without_effect_is_lost(ledger: Ledger) -> None:
    """It is named with the service where it had none."""
    del ledger.effects["inventory", UUID(int=2)]
    (lost,) = ledger.lost()
    assert lost.startswith("inventory.ReleaseGoods")
    assert lost.endswith("had no effect in inventory")


def test_an_effect_that_stands_twice_is_doubled(ledger: Ledger) -> None:
    """As one that two instances had brought about would."""
    ledger.effects["inventory", UUID(int=1)].append(Effect(12, "effect of 1"))
    (doubled,) = ledger.doubled()
    assert "had an effect 2 times in inventory" in doubled


def test_effects_of_one_key_that_change_places_are_disordered(ledger: Ledger) -> None:
    """The later message took effect first."""
    ledger.effects["inventory", UUID(int=2)] = [Effect(9, "effect of 2")]
    (disordered,) = ledger.disordered()
    assert disordered.startswith("inventory.ReleaseGoods")


def test_only_an_answer_that_was_given_again_may_have_no_effect(ledger: Ledger) -> None:
    """The saga takes the first of several answers to one asking."""
    answer = sent(4, Reply.NAME, "ordering.replies", "saga|a|step|do|1")
    ledger.sent.append(answer)
    ledger.answers[answer.envelope.replykey or ""] = 1
    assert len(ledger.lost()) == 1
    ledger.sent.append(replace(answer, seq=5))
    ledger.answers[answer.envelope.replykey or ""] = 2
    assert ledger.lost() == []


@pytest.mark.parametrize(("key", "step", "undo"), [("b", "step", False), ("a", "other", False), ("a", "step", True)])
def test_an_answer_may_come_after_its_step_has_timed_out(ledger: Ledger, key: str, step: str, undo: bool) -> None:
    """The saga lets it be undone by then; an answer to anything else must have its effect all the same."""
    ledger.sent.append(sent(4, Reply.NAME, "ordering.replies", "saga|a|step|do|1"))
    ledger.timed_out.add((key, step, undo))
    assert len(ledger.lost()) == 1
    ledger.timed_out.add(("a", "step", False))
    assert ledger.lost() == []
