"""The facts of the day that Grocer ships: whoever changes the data or its reading hears of it here."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from uuid import UUID

import pytest

from grocer.kernel import ZERO, Money
from grocer.shop.day import Basket, Day, Shelf, load_day
from grocer.shop.opening import opening_levels

CENT = Decimal("0.01")
ONLY_QUANTITY_ZERO = 41400726835


@pytest.fixture(scope="module")
def day() -> Day:
    """The shipped day."""
    return load_day()


def cost_of(day: Day, basket: Basket) -> Money:
    """What a basket costs at the day's shelf prices."""
    return sum((day.prices[Shelf(basket.store_id, line.product_id)] * line.quantity for line in basket.lines), ZERO)


def test_the_day_has_645_baskets_of_506_households_at_116_stores(day: Day) -> None:
    """Every basket of the file is there, once, in the order of time."""
    assert len(day.baskets) == len({basket.basket_id for basket in day.baskets}) == 645
    assert len({basket.household_id for basket in day.baskets}) == 506
    assert len(day.stores) == 116
    assert [basket.placed_at for basket in day.baskets] == sorted(basket.placed_at for basket in day.baskets)


def test_every_line_is_either_bought_or_of_quantity_zero(day: Day) -> None:
    """5,789 lines: 5,759 with a quantity, and 30 of quantity 0 in 25 baskets."""
    assert sum(len(basket.lines) for basket in day.baskets) == 5_759
    assert sum(len(basket.unbought) for basket in day.baskets) == 30
    assert sum(1 for basket in day.baskets if basket.unbought) == 25
    assert all(line.quantity > 0 for basket in day.baskets for line in basket.lines)


def test_one_basket_has_no_line_but_of_quantity_zero(day: Day) -> None:
    """Basket 41400726835 is an order of nothing, the only one."""
    assert [basket.basket_id for basket in day.baskets if not basket.lines] == [ONLY_QUANTITY_ZERO]


def test_two_products_of_quantity_zero_are_missing_from_the_products(day: Day) -> None:
    """Of 3,695 products named by lines 3,693 are known; the two others were never bought."""
    known = {product.product_id for product in day.products}
    bought = {line.product_id for basket in day.baskets for line in basket.lines}
    unbought = {product_id for basket in day.baskets for product_id in basket.unbought}
    assert len(known) == len(day.products) == 3_693
    assert bought <= known
    assert unbought - known == {5_978_648, 5_978_656}
    assert len(bought | unbought) == 3_695


def test_26_lines_are_petrol_by_the_thousand(day: Day) -> None:
    """Petrol is counted in thousandths of a gallon: all quantities above 15 are such lines."""
    types = {product.product_id: product.product_type for product in day.products}
    large = [line for basket in day.baskets for line in basket.lines if line.quantity > 15]
    assert len(large) == 26
    assert all(2_428 <= line.quantity <= 23_597 for line in large)
    assert {types[line.product_id] for line in large} == {"GASOLINE-REG UNLEADED"}


def test_a_customer_is_a_household_as_a_uuid(day: Day) -> None:
    """The integer of the customer's id is the household."""
    assert day.baskets[0].customer_id == UUID("00000000-0000-0000-0000-000000000040")
    assert {basket.customer_id.int for basket in day.baskets} == {basket.household_id for basket in day.baskets}


def test_times_are_utc(day: Day) -> None:
    """The data's times have no zone; they are taken as UTC."""
    assert day.baskets[0].placed_at == datetime(2017, 12, 24, 0, 0, 1, tzinfo=UTC)
    assert day.baskets[-1].placed_at == datetime(2017, 12, 24, 23, 12, 19, tzinfo=UTC)
    assert day.date == date(2017, 12, 24)


def test_a_shelf_price_is_what_the_day_first_paid_there_before_the_discount(day: Day) -> None:
    """(1.59 + 0.40) / 1 at store 340; of 5,633 shelf prices 61 have no whole number of cents; none is zero."""
    assert day.prices[Shelf(340, 9_859_128)] == Money(Decimal("1.99"))
    assert len(day.prices) == 5_633
    assert sum(price.amount != price.amount.quantize(CENT) for price in day.prices.values()) == 61
    assert all(price.amount > 0 for price in day.prices.values())


def test_a_shelf_price_stays_when_the_day_pays_another_later(day: Day) -> None:
    """Store 381 sold product 1022254 for 7.05, then for 5.30 and 5.77: whoever comes later pays the first price."""
    assert day.prices[Shelf(381, 1_022_254)] == Money(Decimal("7.05"))
    buyers = [basket.basket_id for basket in day.baskets if basket.store_id == 381 for line in basket.lines
              if line.product_id == 1_022_254]  # fmt: skip
    assert {41366429897, 41366430630} < set(buyers)


def test_petrol_costs_a_fraction_of_a_cent_and_its_line_whole_cents(day: Day) -> None:
    """The first to fill up at store 367 pays to the cent what they paid on the day."""
    shelf = Shelf(367, 6_534_178)
    first = next(line for basket in day.baskets if basket.store_id == 367 for line in basket.lines
                 if line.product_id == shelf.product_id)  # fmt: skip
    assert day.prices[shelf].amount < CENT
    assert day.prices[shelf] * first.quantity == Money(Decimal("33.46"))  # 32.00 + 1.46


def test_products_have_several_prices_across_stores(day: Day) -> None:
    """196 products do not cost the same everywhere."""
    prices_by_product: dict[int, set[Decimal]] = defaultdict(set)
    for shelf, price in day.prices.items():
        prices_by_product[shelf.product_id].add(price.amount)
    assert sum(len(prices) > 1 for prices in prices_by_product.values()) == 196


def test_the_day_is_worth_23285_dollars_and_31_cents(day: Day) -> None:
    """The sum of all baskets, each line rounded half to even; a change of rounding or of prices would show here."""
    assert sum((cost_of(day, basket) for basket in day.baskets), ZERO) == Money(Decimal("23285.31"))
    by_hand = sum(
        (day.prices[Shelf(basket.store_id, line.product_id)].amount * line.quantity).quantize(CENT, ROUND_HALF_EVEN)
        for basket in day.baskets
        for line in basket.lines
    )
    assert by_hand == Decimal("23285.31")


def test_a_customer_and_a_total_nearly_always_name_one_basket(day: Day) -> None:
    """A card's fate is drawn from customer and total: of 644 baskets with lines, two pairs share theirs."""
    named = {(basket.household_id, cost_of(day, basket).amount) for basket in day.baskets if basket.lines}
    assert len(named) == 642


def test_demand_is_what_the_baskets_take(day: Day) -> None:
    """296,713 pieces, petrol included, from as many shelves as have a price."""
    demand = day.opening_stock(2017, shortage=0.0)
    assert demand.keys() == day.prices.keys()
    assert sum(demand.values()) == 296_713


def test_opening_stock_is_the_demand_less_about_a_fiftieth_of_the_lines(day: Day) -> None:
    """A shelf never has more than the day wants, and close to 2 % of the lines find theirs short."""
    demand, stock = day.opening_stock(2017, shortage=0.0), day.opening_stock(2017)
    assert stock.keys() == demand.keys()
    assert all(0 <= stock[shelf] <= demand[shelf] for shelf in demand)
    short = sum(stock[shelf] < demand[shelf] for shelf in demand)
    assert short == 113
    assert 0.015 <= short / 5_759 <= 0.025


def test_opening_stock_is_drawn_from_the_seed_alone(day: Day) -> None:
    """The same seed empties the same shelves, also when the day's baskets are gone through the other way round."""
    backwards = Day(day.date, day.baskets[::-1], day.products, day.prices)
    assert day.opening_stock(7) == backwards.opening_stock(7)
    assert day.opening_stock(7) != day.opening_stock(8)
    assert day.opening_stock(7, shortage=0.0) == day.opening_stock(8, shortage=0.0)


def test_stores_open_with_the_opening_stock(day: Day) -> None:
    """Every store gets its goods once, and no shelf is named that has nothing on it."""
    levels = dict(opening_levels(seed=2017))
    assert list(levels) == sorted(levels)
    named = {
        Shelf(store_id, goods.product_id): goods.quantity for store_id, shelves in levels.items() for goods in shelves
    }
    assert sum(len(shelves) for shelves in levels.values()) == len(named)
    assert named == {shelf: pieces for shelf, pieces in day.opening_stock(2017).items() if pieces}
