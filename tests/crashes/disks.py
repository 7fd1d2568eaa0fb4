"""Disks for a child to die on: each write, sync, truncation and deletion is a step, before and after."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

__all__ = ["Steps", "disk", "disk_without_power", "statements"]

SECTOR_BYTES = 512
_REAL = apsw.vfs_names()[0]


class Steps:
    """Counts steps, and does what it was told at one of them."""

    def __init__(self, last: int, end: Callable[[int], None]) -> None:
        self.taken = 0
        self.last = last
        self.end = end

    def step(self) -> None:
        """One step further."""
        self.taken += 1
        if self.taken == self.last:
            self.end(self.taken)


class _Contents:
    """What a file would hold after a power cut: all that was synced, and of the later changes what luck has kept."""

    def __init__(self, path: str) -> None:
        self._synced = bytearray(Path(path).read_bytes())
        self._unsynced: list[tuple[int, bytes | None]] = []

    def change(self, offset: int, data: bytes | None) -> None:
        """`data` was written at `offset`; None where the file was cut there."""
        self._unsynced.append((offset, data))

    def sync(self) -> None:
        """All changes have reached the disk."""
        for change in self._unsynced:
            self._apply(*change)
        self._unsynced.clear()

    def lose(self, luck: random.Random | None) -> bytearray:
        """The contents after the cut: without `luck` nothing unsynced is kept, else any of it, in torn pieces."""
        if luck is not None:
            for offset, data in self._unsynced:
                if luck.random() < 0.5:
                    continue
                if data is None:
                    self._apply(offset, None)
                    continue
                for at in range(0, len(data), SECTOR_BYTES):
                    if luck.random() < 0.9:
                        self._apply(offset + at, data[at : at + SECTOR_BYTES])
        return self._synced

    def _apply(self, offset: int, data: bytes | None) -> None:
        if data is None:
            del self._synced[offset:]
            return
        self._synced.extend(bytes(max(0, offset - len(self._synced))))
        self._synced[offset : offset + len(data)] = data


class _File(apsw.VFSFile):
    def __init__(self, steps: Steps, files: dict[int, _Contents], name: Any, flags: list[int]) -> None:
        super().__init__(_REAL, name, flags)
        self._steps = steps
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        file = os.stat(path).st_ino  # it keeps that when it is renamed
        if file not in files:
            files[file] = _Contents(path)
        self._contents = files[file]

    def xWrite(self, data: bytes, offset: int) -> None:
        self._steps.step()
        self._contents.change(offset, bytes(data))
        super().xWrite(data, offset)
        self._steps.step()

    def xTruncate(self, newsize: int) -> None:
        self._steps.step()
        self._contents.change(newsize, None)
        super().xTruncate(newsize)
        self._steps.step()

    def xSync(self, flags: int) -> None:
        # The real disk is left in peace: a process that dies loses nothing that the kernel has
        self._steps.step()
        self._contents.sync()
        self._steps.step()


class _Disk(apsw.VFS):
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._files: dict[int, _Contents] = {}
        super().__init__("crashing", _REAL, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self._steps, self._files, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._steps.step()
        self._files.pop(os.stat(filename).st_ino, None)
        super().xDelete(filename, syncdir)
        self._steps.step()

    def cut_the_power(self, folder: Path, luck: random.Random | None) -> None:
        """Leave in `folder` what would be there afterwards."""
        for path in folder.iterdir():
            contents = self._files.get(path.stat().st_ino)
            if contents is not None:
                path.write_bytes(contents.lose(luck))


@contextmanager
def disk(steps: Steps) -> Iterator[None]:
    """Run all files of SQLite on such a disk."""
    files = _Disk(steps)
    try:
        yield
    finally:
        files.unregister()


@contextmanager
def disk_without_power(steps: Steps, folder: Path, luck: random.Random | None) -> Iterator[None]:
    """The same, on which what was not synced in `folder` is lost at the last step, all of it or as `luck` has it."""
    files, end = _Disk(steps), steps.end

    def lose_and_end(taken: int) -> None:
        files.cut_the_power(folder, luck)
        end(taken)

    steps.end = lose_and_end
    try:
        yield
    finally:
        files.unregister()


@contextmanager
def statements(steps: Steps) -> Iterator[None]:
    """Make each SQL statement two steps, one before it and one after it."""

    def count(connection: apsw.Connection) -> None:
        def before(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
            steps.step()
            return True

        connection.set_exec_trace(before)
        connection.set_profile(lambda sql, nanoseconds: steps.step())

    apsw.connection_hooks.append(count)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(count)
