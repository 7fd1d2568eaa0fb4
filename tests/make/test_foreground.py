"""What `make up` runs is the terminal's foreground job: Ctrl-C is for it, and make reports its end."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.make.terminal import CTRL_C, PATIENCE, on_a_terminal, read_until

FOREGROUND = Path(__file__).parents[2] / "make" / "foreground.py"
MAKE = shutil.which("make") or "make"

HOST = """
import signal, sys
def stop(number, frame):
    print("stopped by", signal.Signals(number).name, flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A command that runs until a signal stops it, and then ends well."""
    script = tmp_path / "host.py"
    script.write_text(HOST)
    return script


def test_ctrl_c_stops_the_command_and_make_ends_well(host: Path) -> None:
    """Ctrl-C reaches the command alone, so that make lives to give its exit status 0."""
    host.with_name("Makefile").write_text(
        f'up:\n\t@exec "{sys.executable}" "{FOREGROUND}" "{sys.executable}" host.py\n'
    )
    with on_a_terminal(MAKE, "up", cwd=host.parent) as (make, terminal):
        read_until(terminal, "ready")
        os.write(terminal, CTRL_C)
        read_until(terminal, "stopped by SIGINT")
        assert make.wait(PATIENCE) == 0


def test_a_signal_to_the_launcher_is_handed_on(host: Path) -> None:
    """On a terminal too, SIGTERM for the launcher, as make sends it, stops the command."""
    with on_a_terminal(sys.executable, str(FOREGROUND), sys.executable, str(host), cwd=host.parent) as (
        process,
        terminal,
    ):
        read_until(terminal, "ready")
        process.send_signal(signal.SIGTERM)
        read_until(terminal, "stopped by SIGTERM")
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(("statement", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_the_exit_status_is_the_commands(statement: str, status: int, tmp_path: Path) -> None:
    """The command's exit status is the launcher's, 128 + n where signal n ended it."""
    code = f"import os, sys; {statement}"
    with on_a_terminal(sys.executable, str(FOREGROUND), sys.executable, "-c", code, cwd=tmp_path) as (process, _):
        assert process.wait(PATIENCE) == status


def test_without_a_terminal_the_command_takes_the_launchers_place(host: Path) -> None:
    """Under a supervisor the command has the process that was started, so that any signal is its own."""
    with subprocess.Popen(
        [sys.executable, str(FOREGROUND), sys.executable, str(host)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
