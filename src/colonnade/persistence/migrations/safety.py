"""What a step of a migration may be, so that code of two versions works on under it.

Refused is what rewrites a table or scans it under a lock that others wait for, what the version before would stumble
over, and what cannot be taken back.
"""

import re
from typing import Any, NamedTuple

from alembic.operations import ops
from sqlalchemy import Column, Computed, Identity
from sqlalchemy.sql.schema import DefaultClause

from colonnade.persistence.migrations.line import CONTRACT, EXPAND, Part

__all__ = ["Refused", "refusal"]

_CONSTANT = re.compile(r"[+-]?\d+(\.\d+)?|'([^']|'')*'|true|false|null", re.IGNORECASE)
_FIRST_WORDS = re.compile(r"\s*(?:--[^\n]*\n\s*)*(\w+)(?:\s+(\w+))?")
_HARMLESS = {("CREATE", "FUNCTION"), ("CREATE", "OR"), ("CREATE", "SEQUENCE"), ("INSERT", "INTO"), ("COMMENT", "ON")}
_HARMLESS_ONCE_UNUSED = {("DROP", "FUNCTION"), ("DROP", "SEQUENCE")}


class Refused(NamedTuple):
    """Why a step may not be, and what to do instead."""

    reason: str
    remedy: str


def refusal(operation: Any, part: Part, made: frozenset[str]) -> Refused | None:
    """Why `operation` may not be done in that part; `made` are the tables that the same part has made."""
    match operation:
        case ops.CreateTableOp():
            return _only_in(EXPAND, part)
        case ops.AddColumnOp():
            return _only_in(EXPAND, part) or _adding(operation.column)
        case ops.CreateIndexOp():
            if operation.unique and part == EXPAND and operation.table_name not in made:
                return Refused("code of the version before may write rows that it forbids", "make it in contract()")
            return None
        case ops.AlterColumnOp():
            return _altering(operation, part)
        case ops.DropColumnOp() | ops.DropTableOp() | ops.DropIndexOp() | ops.DropConstraintOp():
            return _only_in(CONTRACT, part)
        case ops.CreateCheckConstraintOp():
            return _only_in(CONTRACT, part)
        case ops.CreateUniqueConstraintOp():
            return Refused("it is built under a lock that writers wait for", "make a unique index in contract()")
        case ops.CreatePrimaryKeyOp() | ops.CreateForeignKeyOp():
            return Refused("it scans the table under a lock that writers wait for", "leave it out")
        case ops.RenameTableOp():
            return Refused(
                "code of the version before looks for the old name",
                "make a table beside it, fill it from events, and drop the old one a version later",
            )
        case ops.ExecuteSQLOp():
            return _executing(str(operation.sqltext), part)
        case ops.BulkInsertOp():
            return None
        case _:
            pass
    return Refused("it is not known to be safe", "use create_table, add_column, create_index, fill, or drop_ of these")


def _only_in(right: Part, part: Part) -> Refused | None:
    if part == right:
        return None
    if right == EXPAND:
        return Refused("code of this version needs it when it starts", "move it to expand()")
    return Refused("code of the version before still uses it while both run", "move it to contract()")


def _adding(column: Column[Any]) -> Refused | None:
    default = column.server_default
    if isinstance(default, Computed | Identity):
        return Refused("the whole table is rewritten under a lock", "add a plain column, and fill() it")
    if column.primary_key or column.unique or column.index or column.foreign_keys:
        remedy = "add the column by itself, and create_index() where it needs one"
        return Refused("its key or index is built under a lock", remedy)
    if isinstance(default, DefaultClause):
        text = default.arg if isinstance(default.arg, str) else None
        if text is None and not _CONSTANT.fullmatch(str(getattr(default.arg, "text", default.arg)).strip()):
            return Refused(
                "its default is computed, for each row that is there while the table is locked",
                "add it without one, and fill() it",
            )
    elif not column.nullable:
        return Refused(
            "it is NOT NULL without a default, so code of the version before cannot add rows",
            "give it a server_default, or make it nullable here and NOT NULL in contract() of the next version",
        )
    return None


def _altering(operation: ops.AlterColumnOp, part: Part) -> Refused | None:
    if operation.modify_type is not None:
        return Refused(
            "another type rewrites the table under a lock",
            "add a column of that type, fill() it, use it from this version on, and drop the old one in contract()",
        )
    if operation.modify_name is not None:
        return Refused(
            "code of the version before looks for the old name",
            "add a column of the new name, fill() it, and drop the old one in contract()",
        )
    if operation.modify_nullable is False:
        return _only_in(CONTRACT, part)
    return None


def _executing(sql: str, part: Part) -> Refused | None:
    match = _FIRST_WORDS.match(sql)
    words = (match[1].upper(), (match[2] or "").upper()) if match is not None else ("", "")
    if words[0] in ("UPDATE", "DELETE"):
        return Refused("it locks all rows that it changes until it ends", "use fill(), which goes page by page")
    if words in _HARMLESS:
        return None
    if words in _HARMLESS_ONCE_UNUSED:
        return _only_in(CONTRACT, part)
    return Refused(
        f"what {' '.join(words).strip()} locks and for how long is not known",
        "use Alembic's operation for it; execute() takes INSERT, CREATE FUNCTION, CREATE SEQUENCE and COMMENT ON",
    )
