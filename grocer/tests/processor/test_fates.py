"""A card's fate is drawn from the card and the amount, never from the order of calls."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grocer.processor.fates import DEFAULT_RATES, Fate, Fates

CARDS = [f"card-{number}" for number in range(20_000)]


@pytest.mark.parametrize("fate", list(Fate))
def test_a_test_card_does_as_it_is_called(fate: Fate) -> None:
    """`tok_declined` is declined and so on, at any rates."""
    assert Fates(1, {Fate.LOST: 1.0}).of(f"tok_{fate}", "12.34") is fate


def test_fates_come_at_their_rates() -> None:
    """Of twenty thousand cards, close to the stated share meets each fate."""
    fates = Fates(2017, DEFAULT_RATES)
    counts = Counter(fates.of(card, "12.34") for card in CARDS)
    for fate, rate in DEFAULT_RATES.items():
        assert counts[fate] / len(CARDS) == pytest.approx(rate, abs=0.005)
    assert counts[Fate.OK] / len(CARDS) == pytest.approx(1 - sum(DEFAULT_RATES.values()), abs=0.01)


@given(st.permutations(CARDS[:50]), st.integers())
def test_the_order_of_calls_changes_nothing(cards: list[str], seed: int) -> None:
    """Two processors with one seed agree on every card, in whatever order they meet them."""
    rates = dict.fromkeys([Fate.DECLINED, Fate.SLOW, Fate.LOST], 0.3)
    one, other = Fates(seed, rates), Fates(seed, rates)
    met = {card: one.of(card, "1.00") for card in cards}
    assert met == {card: other.of(card, "1.00") for card in sorted(cards)}


def test_seed_card_and_amount_all_count() -> None:
    """Another seed, another customer or another total is another draw."""
    rates = {Fate.DECLINED: 0.5}
    fates = [Fates(1, rates).of(card, "1.00") for card in CARDS[:100]]
    assert fates != [Fates(2, rates).of(card, "1.00") for card in CARDS[:100]]
    assert fates != [Fates(1, rates).of(card, "1.01") for card in CARDS[:100]]
    assert len(set(fates)) == 2


@pytest.mark.parametrize("rates", [{Fate.LOST: -0.1}, {Fate.LOST: 0.6, Fate.SLOW: 0.6}, {Fate.LOST: float("nan")}])
def test_rates_that_are_no_shares_are_refused(rates: dict[Fate, float]) -> None:
    """A share is at least 0, and all together at most 1."""
    with pytest.raises(ValueError, match="give shares of 1"):
        Fates(1, rates)


@pytest.mark.parametrize("fate", list(Fate))
def test_a_rate_of_one_is_everyone(fate: Fate) -> None:
    """A test that wants every card declined says so."""
    fates = Fates(1, {fate: 1.0})
    assert {fates.of(card, "12.34") for card in CARDS[:500]} == {fate}
