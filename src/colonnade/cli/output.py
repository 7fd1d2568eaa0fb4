"""What commands print: tables for people, one JSON object a line for scripts."""

import sys
from collections.abc import Container, Iterable, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from colonnade.messages.undecodable import UNDECODABLE
from colonnade.world import datetime_of

__all__ = ["AsJson", "console", "json_of", "moment", "print_json", "print_table", "visible"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

_WIDTH_OF_PIPES = 200


def console() -> Console:
    """Where tables go; a pipe is as wide as a wide terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_PIPES, soft_wrap=False, highlight=False)


def print_json(value: Any) -> None:
    """One JSON object on a line of its own."""
    sys.stdout.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], nothing: str, *, cut: Container[str] = ()
) -> None:
    """A table; the sentence `nothing` where it would be empty.

    Columns whose name ends with # are numbers; those of `cut` end with an ellipsis where the line is full.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = column.endswith("#")
        table.add_column(
            column.rstrip("#"),
            justify="right" if number else "left",
            no_wrap=number or column in cut,
            overflow="ellipsis" if column in cut else "fold",
        )
    for row in rows:
        # Text, so that brackets in stored data are not taken for markup, nor escapes for commands to the terminal
        table.add_row(*(Text(visible(cell)) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        sys.stdout.write(f"{nothing}\n")


def moment(micros: int) -> str:
    """A moment for people, in UTC."""
    return f"{datetime_of(micros):%Y-%m-%d %H:%M:%S}"


def visible(cell: object) -> str:
    """`cell` as text that cannot steer a terminal."""
    text = "" if cell is None else str(cell)
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def json_of(data: bytes) -> Any:
    """Stored JSON as a part of printed JSON."""
    try:
        return msgspec.json.decode(data)
    except UNDECODABLE:
        return data.decode(errors="backslashreplace")
