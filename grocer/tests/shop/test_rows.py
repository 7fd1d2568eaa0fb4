"""Whatever is wrong with a file of shopping data is named by file, line and column."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from grocer.shop.day import load_day
from grocer.shop.rows import BadData

DAY = date(2017, 12, 24)
BASKETS = """\
basket_id,household_id,store_id,placed_at,product_id,quantity,sales_value,retail_disc,coupon_disc,coupon_match_disc
1,64,340,2017-12-24T00:00:01,10,1,1.59,0.4,0.0,0.0
1,64,340,2017-12-24T00:00:01,11,2,3.00,0.0,0.0,0.0
2,65,341,2017-12-24T00:00:02,10,1,1.59,0.4,0.0,0.0
"""
PRODUCTS = """\
product_id,manufacturer_id,department,brand,product_category,product_type,package_size
10,69,GROCERY,Private,RICE,RICE,32 OZ
11,69,GROCERY,National,"PASTA, DRY",,
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the two files of a day and returns their folder."""

    def write(baskets: str = BASKETS, products: str = PRODUCTS) -> Path:
        (tmp_path / "baskets-2017-12-24.csv").write_bytes(baskets.encode("utf-8", "surrogateescape"))
        (tmp_path / "products-2017-12-24.csv").write_bytes(products.encode("utf-8", "surrogateescape"))
        return tmp_path

    return write


def test_a_sound_day_is_read(write: Write) -> None:
    """The files that the other tests spoil are sound themselves; a quoted comma is part of its cell."""
    day = load_day(DAY, write(BASKETS, PRODUCTS))
    assert [len(basket.lines) for basket in day.baskets] == [2, 1]
    assert day.products[1].product_category == "PASTA, DRY"


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "reason"),
    [
        ("basket_id,", "basket,", 1, None, "the columns are basket, household_id"),
        ("2,3.00", "two,3.00", 3, "quantity", "'two' does not fit: Expected `int`"),
        ("2,3.00", "-2,3.00", 3, "quantity", "'-2' does not fit: Expected `int` >= 0"),
        ("2,3.00", "2,NaN", 3, "sales_value", "'NaN'"),
        ("2,3.00", "2,3.001", 3, "sales_value", "'3.001'"),
        ("2,3.00", "2,-3.00", 3, "sales_value", "'-3.00'"),
        ("2,3.00", "2,0.00", 3, "sales_value", "product 11 has no price"),
        ("2,3.00,", "2,", 3, None, "9 cells, not 10"),
        ("1,64,340,2017-12-24T00:00:01,11", "1,64,340,2017-12-24T00:00:01Z,11", 3, "placed_at", "'2017-12-24T00"),
        ("1,64,340,2017-12-24T00:00:01,11", "1,64,340,noon,11", 3, "placed_at", "'noon'"),
        ("1,64,340,2017-12-24T00:00:01,11", "1,63,340,2017-12-24T00:00:01,11", 3, "household_id", "began with 64"),
        ("1,64,340,2017-12-24T00:00:01,11", "1,64,339,2017-12-24T00:00:01,11", 3, "store_id", "began with 340"),
        ("1,64,340,2017-12-24T00:00:01,11", "1,64,340,2017-12-24T00:00:09,11", 3, "placed_at", "began with 2017"),
        ("00:00:01,11", "00:00:01,10", 3, "product_id", "product 10 is twice in basket 1"),
        ("00:00:01,11", "00:00:01,12", 3, "product_id", "product 12 is bought, but not among the products"),
        (
            "2,65,341,2017-12-24T00:00:02",
            "2,65,341,2017-12-24T00:00:00",
            4,
            "placed_at",
            "earlier than the line before",
        ),
        ("2,65,341,2017-12-24T00:00:02", "2,65,341,2017-12-25T00:00:02", 4, "placed_at", "is not on 2017-12-24"),
        ("2,65,341,2017-12-24", "2,65,341,2017-12-24", 5, "basket_id", "basket 1 began further above"),
        ("2,65", '2,"65', 4, None, "not CSV"),
        ("2,65", "2,\udcff65", 4, None, "the byte 0xff is not UTF-8"),
    ],
)
def test_bad_baskets_are_named(write: Write, old: str, new: str, line: int, column: str | None, reason: str) -> None:
    """The error holds file, line, column and reason, and its sentence says them all, with the remedy."""
    spoilt = BASKETS.replace(old, new) + ("1,64,340,2017-12-24T00:00:03,10,1,1.59,0.4,0.0,0.0\n" if old == new else "")
    folder = write(spoilt, PRODUCTS)
    with pytest.raises(BadData) as caught:
        load_day(DAY, folder)
    error = caught.value
    assert (error.file, error.line, error.column) == (folder / "baskets-2017-12-24.csv", line, column)
    assert reason in error.reason
    place = f"{error.file}, line {line}" + (f", column {column}" if column else "")
    assert str(error) == f"{place}: {error.reason}; put the original file back, or correct the line."


def test_a_product_named_twice_is_bad(write: Write) -> None:
    """A product is described once."""
    folder = write(BASKETS, PRODUCTS + "10,69,GROCERY,Private,RICE,RICE,32 OZ\n")
    with pytest.raises(
        BadData, match=r"products-2017-12-24\.csv, line 4, column product_id: product 10 is there twice"
    ):
        load_day(DAY, folder)


def test_an_empty_file_is_bad(write: Write) -> None:
    """A file without even a header is no day without baskets."""
    with pytest.raises(BadData, match="line 1: the columns are missing"):
        load_day(DAY, write("", PRODUCTS))


def test_a_missing_day_is_told_by_its_file(tmp_path: Path) -> None:
    """A day that is not there is an OSError that names the file."""
    with pytest.raises(FileNotFoundError, match=r"products-2017-12-24\.csv"):
        load_day(DAY, tmp_path)
