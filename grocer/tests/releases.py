"""Two versions of Grocer's code side by side, of which a fleet's processes begin with the current one."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import grocer as package

__all__ = ["NEXT", "NOW", "release", "releases"]

NOW, NEXT = "now", "next"


def releases(folder: Path, changes: Mapping[str, Sequence[tuple[str, str]]]) -> Path:
    """This version and the next, which differs by `changes` (file: before and after); the way to the current one."""
    source = Path(package.__file__).parent
    for name in (NOW, NEXT):
        shutil.copytree(source, folder / name / "grocer", ignore=shutil.ignore_patterns("__pycache__"))
    for file, replacements in changes.items():
        path = folder / NEXT / "grocer" / file
        code = path.read_text()
        for before, after in replacements:
            assert code.count(before) == 1
            code = code.replace(before, after)
        path.write_text(code)
    release(folder, NOW)
    return folder / "current"


def release(folder: Path, name: str) -> None:
    """Let a version be the current one from now on."""
    growing = folder / "growing"
    growing.symlink_to(folder / name, target_is_directory=True)
    growing.replace(folder / "current")
