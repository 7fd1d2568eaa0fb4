"""The data directory, owned by one process at a time."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colonnade.persistence.store import DataDirectory

__all__ = ["TENANTS", "DataDirectoryInUse", "UnusableDataDirectory", "own_data_directory"]

TENANTS = "tenants"
"""The directory in which each tenant has a data directory."""

LOCK_FILE = "lock"

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


class UnusableDataDirectory(Exception):
    """The data directory cannot be made, written or locked."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(path, reason, remedy)
        self.path, self.reason, self.remedy = path, reason, remedy

    def __str__(self) -> str:
        return f"{self.path} cannot be the data directory: {self.reason}; {self.remedy}."


class DataDirectoryInUse(Exception):
    """Another process owns the data directory; `pid` is None in the moment before it has said which."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(path, pid)
        self.path, self.pid = path, pid

    def __str__(self) -> str:
        owner = f"process {self.pid}" if self.pid is not None else "another process"
        return f"{self.path} is in use by {owner}; stop it first, or name another data directory."


@contextmanager
def own_data_directory(path: Path) -> Iterator[DataDirectory]:
    """Own `path`, made if it is missing, until the block ends or the process dies.

    The lock is the kernel's (flock), so that what a killed process leaves behind is no obstacle. The file beside it
    only tells people who the owner is.
    Raises `DataDirectoryInUse` or `UnusableDataDirectory`.
    """
    path = path.absolute()
    lock = _open_lock(path)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryInUse(path, _written_pid(lock)) from None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise UnusableDataDirectory(
                    path, "its file system knows no locks", "name a directory on a local disk"
                ) from error
            raise
        _write_pid(path, lock)
        yield DataDirectory(path)
    finally:
        # The file stays: deleting it would let two processes lock two files of one name
        os.close(lock)


def _open_lock(path: Path) -> int:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileExistsError, NotADirectoryError):
        raise UnusableDataDirectory(path, "a file is in its place", "name another path") from None
    except IsADirectoryError:
        raise UnusableDataDirectory(path, f"its {LOCK_FILE!r} is a directory", "name another path") from None
    except PermissionError:
        raise UnusableDataDirectory(
            path, "this user may not write there", "change its permissions, or name another path"
        ) from None
    except OSError as error:
        raise UnusableDataDirectory(path, os.strerror(error.errno or 0).lower(), "name another path") from error


def _written_pid(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _write_pid(path: Path, lock: int) -> None:
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        raise UnusableDataDirectory(
            path, os.strerror(error.errno or 0).lower(), "make room, or name another path"
        ) from error
