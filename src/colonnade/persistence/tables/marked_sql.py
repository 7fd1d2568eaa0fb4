"""How SQLAlchemy's compilers mark tables, whatever the engine."""

import re
from typing import Any

from colonnade.persistence.tables.marking import mark

__all__ = ["MarkedNames", "MarkedTables"]

# SQLAlchemy's compilers are not typed; both classes stand before one of them
_Compiler: Any = object


class MarkedNames(_Compiler):  # type: ignore[misc]
    """Marks the tables that statements write and definitions make; with the dialect's schema, if it has one."""

    def format_table(self, table: Any, use_schema: bool = True, name: str | None = None) -> str:
        """The mark of `table`."""
        schema = self.dialect.tables_schema
        marked = mark(table.name if name is None else name)
        return marked if schema is None else f"{self.quote(schema)}.{marked}"

    def format_index(self, index: Any) -> str:
        """The mark of `index`."""
        return mark(index.table.name, index.name)


class MarkedTables(_Compiler):  # type: ignore[misc]
    """Marks the tables that statements read, and keeps the names of written ones."""

    def visit_insert(self, insert_stmt: Any, *args: Any, **kw: Any) -> str:
        """An INSERT; what it returns, and what it makes of rows in its way, is called by the declared name."""
        text: str = super().visit_insert(insert_stmt, *args, **kw)
        table = insert_stmt.table
        into = f"INTO {self.preparer.format_table(table)}"
        named = f"{into} AS {self.preparer.quote(table.name)}"
        return re.sub(f"{re.escape(into)}(?! AS )", lambda _: named, text, count=1)

    def visit_table(self, table: Any, asfrom: bool = False, enclosing_alias: Any = None, **kw: Any) -> str:
        """A table in FROM; its columns go on being called by the declared name, whatever table it stands for."""
        text: str = super().visit_table(table, asfrom=asfrom, enclosing_alias=enclosing_alias, **kw)
        if not text:
            return text
        name = self.preparer.quote(table.name)
        marked = text.replace(name, self.preparer.format_table(table), 1)
        aliased = text != name or (enclosing_alias is not None and enclosing_alias.element is table)
        return marked if aliased else f"{marked} AS {name}"
