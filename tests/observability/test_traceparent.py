"""Reading and making `traceparent` headers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.observability.traceparent import TraceParent
from colonnade.world import real_world

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"
RANDOMNESS = real_world().randomness


class Zeros:
    """A generator that draws nothing but zeros for a while."""

    def __init__(self, draws: int) -> None:
        self.left = draws

    def random(self) -> float:
        return 0.0

    def bits(self, count: int) -> int:
        self.left -= 1
        return 0 if self.left >= 0 else 1


def test_a_header_is_read_as_the_standard_says() -> None:
    """The example of the standard: trace, caller, sampled."""
    assert TraceParent.parse(GIVEN) == TraceParent(TRACE, PARENT, sampled=True)
    assert TraceParent.parse(f"00-{TRACE}-{PARENT}-00") == TraceParent(TRACE, PARENT, sampled=False)


def test_unknown_flags_are_not_handed_on() -> None:
    """Only the flag that version 00 knows is kept."""
    read = TraceParent.parse(f"00-{TRACE}-{PARENT}-ff")
    assert str(read) == GIVEN


def test_a_later_version_is_read_by_its_first_four_fields() -> None:
    """A version that we do not know may have more fields; what we know of it still holds."""
    assert TraceParent.parse(f"cc-{TRACE}-{PARENT}-01-what-the-future-brings") == TraceParent.parse(GIVEN)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        GIVEN.upper(),
        GIVEN[:-1],
        f"{GIVEN}-",
        f"{GIVEN}-more",
        f" {GIVEN}",
        f"{GIVEN}\n",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0x",
        f"0\u0660-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-" + "x" * 1000,
    ],
)
def test_a_malformed_header_is_no_trace(header: str) -> None:
    """A header that breaks the standard is not trusted in part: a new trace begins."""
    assert TraceParent.parse(header) is None


@given(st.text())
def test_any_text_is_either_read_or_refused(header: str) -> None:
    """No header raises, and what is read can be written and read again."""
    read = TraceParent.parse(header)
    assert read is None or TraceParent.parse(str(read)) == read


@given(st.integers(min_value=0), st.booleans())
def test_a_child_belongs_to_the_trace_of_its_parent(seed: int, sampled: bool) -> None:
    """An operation within another keeps trace and sampling and has an id of its own; both survive the wire."""
    generator = random.Random(seed)  # noqa: S311 - a repeatable draw

    class Seeded:
        def random(self) -> float:
            return generator.random()

        def bits(self, count: int) -> int:
            return generator.getrandbits(count)

    parent = TraceParent.begin(Seeded(), sampled=sampled)
    child = parent.child(Seeded())
    assert (child.trace_id, child.sampled) == (parent.trace_id, sampled)
    assert child.parent_id != parent.parent_id
    assert TraceParent.parse(str(child)) == child


def test_an_id_is_never_all_zeros() -> None:
    """The standard calls such ids invalid, so the draw is repeated."""
    assert TraceParent.begin(Zeros(3)).trace_id == "0" * 31 + "1"
