"""What a relay is handed of its own process's commits is what it would have found, and it is woken when it must be."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from colonnade.persistence.postgres import tail as module
from colonnade.persistence.postgres.holding import Hold
from colonnade.persistence.postgres.tail import Tail
from tests.persistence.drawing import Model, message


@settings(max_examples=2_000, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(st.integers(0, 10_000), min_size=10, max_size=120))
def test_what_is_handed_on_is_what_would_be_found(choices: list[int]) -> None:
    """Whoever draws, commits, rolls back, tells and looks when: nothing is skipped, twice, early, or left lying."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TAIL_ROWS", 6)
        model = Model()
        model.play(choices)
        model.end()
    assert model.relayed == model.committed, model.story


class Relaying:
    """A tail behind a look, and how often its relay was woken."""

    def __init__(self, reached: int) -> None:
        self.woken = 0
        self.tail = Tail(self._wake)
        self.look(reached)

    def _wake(self) -> None:
        self.woken += 1

    def look(self, reached: int, drawn: int = 0) -> None:
        """Nobody commits meanwhile."""
        self.tail.end_look(self.tail.begin_look(), reached, max(reached, drawn))

    def add(self, *positions: int) -> None:
        """A batch of messages only."""
        self.tail.add(positions, [message(position) for position in positions])

    def after(self, seq: int) -> list[int]:
        """The positions of what is known."""
        return [row.seq for row in self.tail.after(seq, 100)]


def test_what_was_committed_behind_a_look_is_known() -> None:
    """In the order of positions, whichever batch was committed first; what was asked for is let go."""
    relaying = Relaying(10)
    relaying.add(13)
    assert relaying.after(10) == []
    relaying.add(11, 12)
    assert relaying.after(10) == [11, 12, 13]
    relaying.tail.add([14, 15], [message(15)])  # an event before it
    assert relaying.after(13) == [15]
    assert (relaying.after(10), relaying.woken) == ([], 0)


def test_nothing_is_known_behind_a_gap_and_the_relay_comes_again() -> None:
    """What is before it is handed on, and since more was committed behind it, the relay has to look for that."""
    relaying = Relaying(10)
    relaying.add(11)
    relaying.add(13)
    assert (relaying.after(10), relaying.woken) == ([11], 1)
    assert relaying.after(11) == []
    relaying.look(13)
    relaying.add(14)
    assert (relaying.after(13), relaying.woken) == ([14], 1)


def test_what_others_had_drawn_before_a_look_has_to_be_looked_for() -> None:
    """Another process may have committed it and told of it before: nobody tells when what is before it is known."""
    relaying = Relaying(10)
    relaying.look(11, 13)
    relaying.add(12)
    assert (relaying.after(11), relaying.woken) == ([12], 1)
    relaying.add(13)
    assert (relaying.after(12), relaying.woken) == ([13], 1)


def test_a_look_may_end_in_the_middle_of_a_batch() -> None:
    """Another one drew between its positions: what is above the horizon follows when that is known to be decided."""
    relaying = Relaying(10)
    relaying.add(12, 13, 15)
    relaying.look(12)
    assert relaying.after(12) == [13]
    relaying.look(14)
    assert relaying.after(14) == [15]
    assert relaying.after(12) == []


def test_a_batch_that_a_look_has_met_is_not_known_again() -> None:
    """Its answer may come after that of the look that found it, which may also have found its first half only."""
    relaying = Relaying(20)
    relaying.add(18, 19)
    relaying.add(20, 21)
    assert relaying.after(20) == [21]


def test_a_look_that_came_less_far_takes_nothing_away() -> None:
    """Somebody asked for a page that lies further down, or the horizon went back: what is decided remains so."""
    relaying = Relaying(10)
    relaying.add(11, 12)
    relaying.look(11)
    relaying.look(9)
    assert relaying.after(11) == [12]


def test_a_look_below_does_not_bring_back_what_was_handed_on() -> None:
    """Of the messages that lie around a seq above all that is known, none comes, not when they are committed either."""
    relaying = Relaying(10)
    assert relaying.after(15) == []
    relaying.add(11, 12, 13, 14, 15, 16)
    assert relaying.after(15) == [16]


def test_what_others_added_has_to_be_looked_for() -> None:
    """Everything known is forgotten, and a look that was under way makes nothing known."""
    relaying = Relaying(10)
    relaying.add(11)
    look = relaying.tail.begin_look()
    relaying.tail.forget()
    relaying.tail.end_look(look, 12, 12)
    relaying.tail.begin_look()
    relaying.add(13)
    assert (relaying.after(10), relaying.after(12)) == ([], [])
    relaying.look(13)
    relaying.add(14)
    assert relaying.after(13) == [14]


class Held:
    """Those who read under the horizon, and how often they were woken."""

    def __init__(self) -> None:
        self.woken = 0
        self.hold = Hold(self._wake)

    def _wake(self) -> None:
        self.woken += 1


def test_who_was_held_is_woken_once_by_what_is_decided() -> None:
    """Whoever looks after it and is not held does not take that from it."""
    held = Held()
    held.hold.end_look(held.hold.begin_look(), held=True)
    held.hold.end_look(held.hold.begin_look(), held=False)
    assert held.woken == 0
    held.hold.decided()
    held.hold.decided()
    assert held.woken == 1


def test_what_is_decided_while_one_looks_wakes_whom_it_held() -> None:
    """The answer tells of what held the look then, and nobody tells again that it does not any more."""
    held = Held()
    looks = [held.hold.begin_look() for _ in range(2)]
    held.hold.decided()
    held.hold.end_look(looks[0], held=False)
    assert held.woken == 0
    held.hold.end_look(looks[1], held=True)
    assert held.woken == 1


@pytest.mark.parametrize("gap", [0, 1])
def test_a_tail_that_nobody_takes_is_let_go(gap: int) -> None:
    """Up to so many messages are kept, behind a gap or not; from then on none until somebody looks."""
    relaying = Relaying(10)
    for number in range(module.TAIL_ROWS + 1):
        relaying.add(11 + gap + number)
    assert not relaying.tail.is_collecting
    assert relaying.after(10) == []
    relaying.look(2_000)
    relaying.add(2_001)
    assert relaying.after(2_000) == [2_001]
