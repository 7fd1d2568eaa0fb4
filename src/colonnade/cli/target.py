"""Finding a system by the name of its code: `module:attribute`."""

import sys
import traceback
from importlib import import_module
from types import ModuleType
from typing import Annotated, NoReturn

import typer

from colonnade.cli.failure import fail
from colonnade.system import System

__all__ = ["Target", "load_system"]

Target = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:ATTRIBUTE", help="Where the system is, like grocer.system:grocer.", show_default=False
    ),
]


def load_system(target: str) -> System:
    """The system named by `target`, looked for in the working directory first.

    A wrong name is a mistake in the command (exit status 2); code that fails while it is imported is told with the
    line at fault (exit status 1).
    """
    name, colon, attribute = target.partition(":")
    if not name or not colon or not attribute:
        raise typer.BadParameter(f"{target!r} is not of the form module:attribute, like grocer.system:grocer.")
    module = _import(name)
    found: object = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise typer.BadParameter(f"{name} has no attribute {attribute!r}; {_systems(module)}.") from None
    if not isinstance(found, System):
        raise typer.BadParameter(f"{target} is a {type(found).__name__}, not a System; {_systems(module)}.")
    return found


def _import(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise typer.BadParameter(
                f"There is no module {error.name!r}; run this in the project's directory, or install the project."
            ) from None
        _fail_importing(name, error)
    except Exception as error:  # whatever the imported code raises
        _fail_importing(name, error)


def _fail_importing(name: str, error: Exception) -> NoReturn:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else name
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    fail(f"{name} cannot be imported. At {place}: {type(error).__name__}: {error}")


def _systems(module: ModuleType) -> str:
    systems = [name for name, value in vars(module).items() if isinstance(value, System)]
    return f"its systems are: {', '.join(systems)}" if systems else "there is no System in that module"
