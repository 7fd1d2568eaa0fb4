"""Money adds up exactly and is rounded once a line."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grocer.kernel import ZERO, Money

amounts = st.decimals(min_value=-10_000, max_value=10_000, places=2).map(Money)
prices = st.decimals(min_value=0, max_value=10_000, places=6).map(Money)


@pytest.mark.parametrize(
    ("price", "quantity", "cost"),
    [
        ("1.59", 3, "4.77"),
        ("0.125", 1, "0.12"),
        ("0.375", 1, "0.38"),
        ("0.002300", 10_000, "23.00"),
        ("2.50", 0, "0.00"),
    ],
)
def test_a_line_is_rounded_to_cents_half_to_even(price: str, quantity: int, cost: str) -> None:
    """What so many pieces cost is a whole number of cents; a half goes to the even one."""
    assert str((Money(Decimal(price)) * quantity).amount) == cost


@given(prices, st.integers(min_value=0, max_value=30_000))
def test_a_line_is_never_further_than_half_a_cent_from_the_exact_product(price: Money, quantity: int) -> None:
    """Rounding moves a line by half a cent at most, for any price and quantity."""
    exact = Fraction(price.amount) * quantity
    assert abs(Fraction((price * quantity).amount) - exact) <= Fraction(1, 200)


@given(st.lists(amounts))
def test_a_sum_of_cents_is_exact_in_any_order(parts: list[Money]) -> None:
    """A total is the same whichever line is added first, and taking every line away again leaves nothing."""
    total = sum(parts, ZERO)
    assert sum(reversed(parts), ZERO) == total
    for part in parts:
        total -= part
    assert total == ZERO


def test_equal_amounts_are_equal_however_they_are_written() -> None:
    """1.5 and 1.50 dollars are the same money."""
    assert Money(Decimal("1.5")) == Money(Decimal("1.50"))
