"""How a command says that it failed: one sentence on standard error, and exit status 1."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

__all__ = ["fail", "told"]


def fail(sentence: object) -> NoReturn:
    """Say why, and end with status 1."""
    typer.secho(f"{sentence}", err=True, fg=typer.colors.RED if sys.stderr.isatty() else None)
    raise typer.Exit(1)


@contextmanager
def told(*kinds: type[Exception]) -> Iterator[None]:
    """Failures of these kinds are told in their own words; any other is a mistake of Colonnade and shows as such."""
    try:
        yield
    except kinds as error:
        fail(error)
