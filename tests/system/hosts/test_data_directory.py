"""One process owns a data directory."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from colonnade.system.hosts.data_directory import (
    DataDirectoryInUse,
    UnusableDataDirectory,
    own_data_directory,
)

OWNER = """
import sys
from pathlib import Path
from colonnade.system.hosts.data_directory import own_data_directory
with own_data_directory(Path(sys.argv[1])):
    print("owned", flush=True)
    sys.stdin.read()
"""


def owner_of(path: Path) -> subprocess.Popen[bytes]:
    """Another process that owns `path` until it is killed or its input ends."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"owned\n"
    return process


def test_a_missing_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Parents are made too; what is stored there is nobody else's to read."""
    path = tmp_path / "deep" / "data"
    with own_data_directory(path) as data:
        assert data.path == path
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "lock").stat().st_mode) == 0o600
        assert (path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_relative_path_is_told_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the path need not know from where the process was started."""
    monkeypatch.chdir(tmp_path)
    with own_data_directory(Path("data")) as data:
        assert data.path == tmp_path / "data"


def test_a_second_owner_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    """Two processes never write one directory, and the error says who is there already."""
    first = owner_of(tmp_path)
    try:
        with pytest.raises(DataDirectoryInUse, match=f"{tmp_path} is in use by process {first.pid}; stop it"):
            own_data_directory(tmp_path).__enter__()
    finally:
        first.communicate(timeout=10)


def test_what_a_killed_owner_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    """After kill -9 the directory can be owned at once, whatever the lock file says."""
    first = owner_of(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=10)
    assert (tmp_path / "lock").read_text() == f"{first.pid}\n"
    with own_data_directory(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_directory_can_be_owned_again_after_its_owner_let_go(tmp_path: Path) -> None:
    """An owner that fails lets go as well."""
    with pytest.raises(ZeroDivisionError), own_data_directory(tmp_path):
        raise ZeroDivisionError
    with own_data_directory(tmp_path):
        pass


def test_an_owner_that_has_not_said_its_pid_yet_is_named_without(tmp_path: Path) -> None:
    """Between taking the lock and writing the pid there is a moment; the refusal holds in it too."""
    with own_data_directory(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(DataDirectoryInUse, match="in use by another process"):
            own_data_directory(tmp_path).__enter__()


def test_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    """A path that is a file, or lies below one, cannot be a directory."""
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, file / "below"):
        with pytest.raises(UnusableDataDirectory, match=f"{path} cannot be the data directory: a file is in its place"):
            own_data_directory(path).__enter__()


def test_a_directory_in_place_of_the_lock_is_told(tmp_path: Path) -> None:
    """The error names what is in the way."""
    (tmp_path / "lock").mkdir()
    with pytest.raises(UnusableDataDirectory, match="its 'lock' is a directory; name another path"):
        own_data_directory(tmp_path).__enter__()


def test_a_place_where_nothing_can_be_written_is_told() -> None:
    """The reason is the operating system's own."""
    with pytest.raises(UnusableDataDirectory, match="/proc/data cannot be the data directory: no such file"):
        own_data_directory(Path("/proc/data")).__enter__()


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is forbidden to root")
def test_a_directory_of_somebody_else_is_told(tmp_path: Path) -> None:
    """A user who may not write there is told so."""
    tmp_path.chmod(0o500)
    with pytest.raises(UnusableDataDirectory, match="this user may not write there"):
        own_data_directory(tmp_path / "data").__enter__()
