"""Finding a system by the name of its code: `module:attribute`."""

import sys
import traceback
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from colonnade.system import System

__all__ = ["BrokenCode", "NoSuchSystem", "load_system"]


class NoSuchSystem(Exception):
    """There is no system of that name: which there is, or how one is named."""


class BrokenCode(Exception):
    """The code of a system cannot be imported: the line at fault and what it raised."""


def load_system(target: str) -> System:
    """The system named by `target`, looked for in the working directory first; raises `NoSuchSystem`, `BrokenCode`."""
    name, colon, attribute = target.partition(":")
    if not name or not colon or not attribute:
        raise NoSuchSystem(f"{target!r} is not of the form module:attribute, like grocer.system:grocer.")
    module = _import(name)
    found: object = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NoSuchSystem(f"{name} has no attribute {attribute!r}; {_systems(module)}.") from None
    if not isinstance(found, System):
        raise NoSuchSystem(f"{target} is a {type(found).__name__}, not a System; {_systems(module)}.")
    return found


def _import(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise NoSuchSystem(
                f"There is no module {error.name!r}; run this in the project's directory, or install the project."
            ) from None
        _tell_broken(name, error)
    except Exception as error:  # whatever the imported code raises
        _tell_broken(name, error)


def _tell_broken(name: str, error: Exception) -> NoReturn:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else name
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    raise BrokenCode(f"{name} cannot be imported. At {place}: {type(error).__name__}: {error}") from error


def _systems(module: ModuleType) -> str:
    systems = [name for name, value in vars(module).items() if isinstance(value, System)]
    return f"its systems are: {', '.join(systems)}" if systems else "there is no System in that module"
