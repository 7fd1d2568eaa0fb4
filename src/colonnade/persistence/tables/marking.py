"""Marks in SQL where a declared table stands for the physical one that is read or written now.

Statements are compiled once with marks, whatever build of a table they will meet; a mark is a quoted name that no
table can have.
"""

import re
from collections.abc import Callable

__all__ = ["mark", "marked", "placed"]

_MARK = re.compile(r'"@(\w+)(?:@(\w+))?"')


def mark(table: str, index: str | None = None) -> str:
    """The mark of a declared table, or of one of its indexes."""
    return f'"@{table}"' if index is None else f'"@{table}@{index}"'


def marked(sql: str) -> tuple[str, ...]:
    """The declared tables that `sql` names, each once."""
    return tuple(dict.fromkeys(match[1] for match in _MARK.finditer(sql)))


def placed(sql: str, physical: Callable[[str], str]) -> str:
    """`sql` on the physical tables; an index is named after its table too, as its name is the whole database's."""

    def place(match: re.Match[str]) -> str:
        table, index = match.groups()
        return f'"{physical(table)}"' if index is None else f'"{physical(table)}_{index}"'

    return _MARK.sub(place, sql)
