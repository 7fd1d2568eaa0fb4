"""A server's process."""

import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from colonnade.system.hosts.servers.child import Child, ServerFailed, User
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.server import Server
from colonnade.system.hosts.servers.wheels import program
from colonnade.world import real_world

WORLD = real_world()
NOBODY = User(65534, 65534)

_STUBBORN = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
_PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    " start_new_session=True); print(child.pid, flush=True); time.sleep(600)"
)


async def test_who_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    """After its time of grace; how it ended can be told."""
    child = Child("Deaf", [sys.executable, "-c", _STUBBORN], tmp_path / "log", grace_seconds=0.05)
    await child.start()
    await _until(lambda: child.last_lines() == "deaf")
    await child.stop()
    assert child.ending == "signal SIGKILL"
    assert await child.wait() == -signal.SIGKILL


async def test_a_kill_ends_all_that_it_has_started(tmp_path: Path) -> None:
    """Also what went into a session of its own; they are gone when it returns."""
    child = Child("Parent", [sys.executable, "-c", _PARENT], tmp_path / "log")
    await child.start()
    await _until(lambda: bool(child.last_lines()))
    grandchild = os.pidfd_open(int(child.last_lines()))
    try:
        assert child.is_running
        await child.kill()
        assert select.select([grandchild], [], [], 0)[0] == [grandchild]
    finally:
        os.close(grandchild)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_somebody_else_reaches_the_folders_of_root(tmp_path: Path) -> None:
    """A process that must not be root reads what only root can, and belongs to no group of root's."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").write_text("read")
    told = f"import os; print(os.getuid(), os.getgid(), os.getgroups(), open({str(closed / 'file')!r}).read())"
    child = Child("Nobody", [sys.executable, "-c", told], tmp_path / "log", user=NOBODY)
    await child.start()
    assert await child.wait() == 0
    assert child.last_lines() == "65534 65534 [] read"


async def test_it_gets_its_environment(tmp_path: Path) -> None:
    """Beside ours."""
    told = "import os; print(os.environ['ITS_OWN'], 'PATH' in os.environ, os.getcwd())"
    child = Child("Env", [sys.executable, "-c", told], tmp_path / "new" / "log", {"ITS_OWN": "7"})
    await child.start()
    assert await child.wait() == 0
    assert child.last_lines() == "7 True /"


async def test_what_it_said_before_it_was_started_is_not_told(tmp_path: Path) -> None:
    """A log goes on where it was; the cause of this end is not that of the last one."""
    (tmp_path / "log").write_text("the disk is full\n")
    child = Child("Again", [sys.executable, "-c", "print('no such port')"], tmp_path / "log")
    for _ in range(2):
        await child.start()
        assert await child.wait() == 0
        assert child.last_lines() == "no such port"
    assert (tmp_path / "log").read_text() == "the disk is full\nno such port\nno such port\n"


async def test_what_ends_at_once_tells_the_end_of_its_log(tmp_path: Path) -> None:
    """With its exit code, and no more lines than one wants to read."""
    told = "for line in range(100): print('line', line)\nraise SystemExit(3)"
    server = _Silent(Child("Brief", [sys.executable, "-c", told], tmp_path / "log"), free_port(), WORLD)
    with pytest.raises(ServerFailed) as failed:
        await server.start()
    assert str(failed.value).startswith("The server Brief failed: it ended before it was ready, with exit code 3;")
    assert failed.value.log.splitlines() == [f"line {line}" for line in range(92, 100)]


def test_a_wheel_that_is_missing_is_named() -> None:
    """With the extra that brings it."""
    with pytest.raises(ServerFailed, match=r"the wheel no-such-wheel is not installed: pip install 'colonnade\[serv"):
        program("Nothing", "no-such-wheel", "/nothing")


class _Silent(Server):
    async def answers(self) -> bool:
        return False


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await WORLD.sleep(0.01)
