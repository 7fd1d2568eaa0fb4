"""Runs a command as the terminal's foreground job, so that Ctrl-C stops the command and make lives to report its end.

make dies of an interrupt that reaches it, whatever exit status its recipe has. On a terminal the command therefore
gets a process group of its own, and the terminal, as a shell with job control does (POSIX.1, chapter 11); without one
it simply takes this process's place.
"""

import os
import signal
import subprocess
import sys
from types import FrameType

TERMINAL = 0
HANDED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def main(command: list[str]) -> int:
    """Run `command` to its end and give its exit status, 128 + n where signal n ended it."""
    ours = os.getpgrp()
    if not os.isatty(TERMINAL) or os.tcgetpgrp(TERMINAL) != ours:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    job = subprocess.Popen(command, process_group=0)  # noqa: S603 - the Makefile's own command

    def hand_on(number: int, _: FrameType | None) -> None:
        os.killpg(job.pid, number)

    for number in HANDED_ON:
        signal.signal(number, hand_on)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a background group may take the terminal back only if it ignores it
    os.tcsetpgrp(TERMINAL, job.pid)
    try:
        return _wait(job.pid, ours)
    finally:
        os.tcsetpgrp(TERMINAL, ours)


def _wait(job: int, ours: int) -> int:
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        os.tcsetpgrp(TERMINAL, ours)
        os.killpg(ours, signal.SIGSTOP)  # Ctrl-Z stops make too; what follows runs after `fg` or `bg`
        if os.tcgetpgrp(TERMINAL) == ours:
            os.tcsetpgrp(TERMINAL, job)
        os.killpg(job, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
