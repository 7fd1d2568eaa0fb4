"""The system on the command line."""

from typing import Annotated

import typer

from colonnade.cli import loading
from colonnade.cli.failure import told
from colonnade.system import System

__all__ = ["Target", "load_system"]

Target = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:ATTRIBUTE", help="Where the system is, like grocer.system:grocer.", show_default=False
    ),
]


def load_system(target: str) -> System:
    """The system named by `target`.

    A wrong name is a mistake in the command (exit status 2); code that fails while it is imported is told with the
    line at fault (exit status 1).
    """
    try:
        with told(loading.BrokenCode):
            return loading.load_system(target)
    except loading.NoSuchSystem as error:
        raise typer.BadParameter(str(error)) from None
