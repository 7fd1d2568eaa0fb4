"""Cursors are opaque, and only what was given out is taken back."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.application.page import InvalidCursor, cursor_at, cursor_keys

keys = st.lists(st.text() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3)


@given(keys=keys)
def test_a_cursor_comes_back_as_the_keys_that_it_was_made_from(keys: list[str | int]) -> None:
    """And can stand in a query string as it is."""
    cursor = cursor_at(*keys)
    assert re.fullmatch("[A-Za-z0-9_-]+", cursor)
    kinds: list[type[str] | type[int]] = [str if isinstance(key, str) else int for key in keys]
    assert cursor_keys(cursor, *kinds) == keys


@pytest.mark.parametrize(
    "cursor",
    ["", "!", "äöü", "W10", "bm9uZQ", cursor_at(1), cursor_at("a", 1), cursor_at("a", "b", "c"), cursor_at("a") + "x"],
)
def test_any_other_text_is_no_cursor(cursor: str) -> None:
    """Neither nonsense, nor that of another list, whose keys are others or of other kinds."""
    with pytest.raises(InvalidCursor) as refused:
        cursor_keys(cursor, str, str)
    assert refused.value.cursor == cursor


@given(cursor=st.text())
def test_whatever_is_sent_is_taken_or_refused(cursor: str) -> None:
    """Nothing else happens."""
    with suppress(InvalidCursor):
        assert len(cursor_keys(cursor, str, int)) == 2
