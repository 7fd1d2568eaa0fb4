"""Reading CSV files strictly: whatever does not fit is named by file, line and column."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

__all__ = ["BadData", "read_rows"]

R = TypeVar("R", bound=msgspec.Struct)

_PLACE = re.compile(r" - at `\$\[(\d+)\]`$")


class BadData(Exception):
    """A file of shopping data that cannot be what it should be.

    `line` counts from 1; `column` is the name of a column, None where the whole line is meant.
    """

    def __init__(self, file: Path, line: int, column: str | None, reason: str) -> None:
        super().__init__(file, line, column, reason)
        self.file, self.line, self.column, self.reason = file, line, column, reason

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" + (f", column {self.column}" if self.column else "")
        return f"{place}: {self.reason}; put the original file back, or correct the line."


def read_rows(file: Path, kind: type[R]) -> Iterator[tuple[int, R]]:
    """The rows of a CSV file in UTF-8, each with the number of its line.

    `kind` is a struct with `array_like=True`: its fields are the file's columns, in order, and their types what a cell
    may be. Raises `BadData` for the first thing that does not fit, `OSError` when the file cannot be read.
    """
    columns = kind.__struct_fields__
    cells_by_line = csv.reader(_text_of(file).splitlines(keepends=True), strict=True)
    try:
        header = next(cells_by_line, [])
        if tuple(header) != columns:
            raise BadData(file, 1, None, f"the columns are {', '.join(header) or 'missing'}, not {', '.join(columns)}")
        for cells in cells_by_line:
            if len(cells) != len(columns):
                raise BadData(file, cells_by_line.line_num, None, f"{len(cells)} cells, not {len(columns)}")
            try:
                row = msgspec.convert(cells, kind, strict=False)
            except msgspec.ValidationError as error:
                raise _bad_cell(file, cells_by_line.line_num, columns, cells, str(error)) from None
            yield cells_by_line.line_num, row
    except csv.Error as error:
        raise BadData(file, cells_by_line.line_num, None, f"not CSV: {error}") from error


def _text_of(file: Path) -> str:
    data = file.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadData(file, line, None, f"the byte 0x{data[error.start]:02x} is not UTF-8") from error


def _bad_cell(file: Path, line: int, columns: tuple[str, ...], cells: list[str], problem: str) -> BadData:
    place = _PLACE.search(problem)
    if place is None:
        return BadData(file, line, None, problem)
    index = int(place[1])
    return BadData(file, line, columns[index], f"{cells[index]!r} does not fit: {problem[: place.start()]}")
