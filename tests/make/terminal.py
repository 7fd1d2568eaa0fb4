"""Programs on a terminal of their own."""

import fcntl
import os
import pty
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CTRL_C = b"\x03"
PATIENCE = 20.0  # seconds


@contextmanager
def on_a_terminal(*command: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `command` in a session whose terminal is a new one; give it with the terminal's other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    try:
        yield process, ours
    finally:
        os.close(ours)  # hangs up: what is still in the foreground is sent SIGHUP
        process.kill()
        process.wait()


def read_until(terminal: int, words: str) -> str:
    """What the terminal shows up to `words`, and a little more."""
    shown = ""
    while words not in shown:
        shown += os.read(terminal, 1024).decode()
    return shown
