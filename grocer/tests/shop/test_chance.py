"""Chance depends on the seed and the name alone."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from grocer.chance import chance


def test_chance_is_the_same_for_ever() -> None:
    """Runs can be repeated on other machines and other versions: these numbers never change."""
    assert chance(2017, "card", "a") == 0.062384540261251176
    assert chance(2018, "card", "a") == 0.8871003927222391


def test_chance_is_evenly_spread_over_names() -> None:
    """Of ten thousand names, each tenth of the range gets about a tenth."""
    tenths = Counter(int(chance(1, number) * 10) for number in range(10_000))
    assert set(tenths) == set(range(10))
    assert all(900 <= count <= 1_100 for count in tenths.values())


@given(st.integers(), st.text())
def test_chance_is_at_least_zero_and_below_one(seed: int, name: str) -> None:
    """It can be compared with a rate: never below a rate of 0, always below a rate of 1."""
    assert 0 <= chance(seed, name) < 1
