"""Migrations written by tests."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from sqlalchemy import Table

from colonnade.persistence.migrations.line import SERVICE, Line, read_line

__all__ = ["written"]

_HEAD = """
from alembic import op
from colonnade.persistence.migrations import fill
from sqlalchemy import CheckConstraint, Column, Computed, Integer, Numeric, String, text

"""


def written(folder: Path, *bodies: str, tables: Sequence[Table] = ()) -> Line:
    """The line of migrations with these bodies, numbered in their order."""
    folder.mkdir(exist_ok=True)
    for number, body in enumerate(bodies, 1):
        (folder / f"{number:04}_step.py").write_text(_HEAD + dedent(body))
    return read_line(SERVICE, folder, tables)
