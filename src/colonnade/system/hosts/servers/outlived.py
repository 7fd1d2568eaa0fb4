"""Becomes a program that does not outlive its parent: `python outlived.py PARENT SIGNAL UID GID PROGRAM [ARGUMENTS]`.

A program of its own, since what it does between fork and exec is not safe in a process that has threads. Where the
kernel is not Linux the program is left to be stopped by its parent alone.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def become(uid: int, gid: int) -> None:
    """Go on as another user, who may still reach the folders that root can: root's home is closed to all others."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    wanted = 1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(wanted, wanted, wanted, 0, 0, 0)  # effective, permitted, inheritable
    if libc.capset(header, sets) == 0:
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def main() -> None:
    """Do as told on the command line."""
    parent, signal, uid, gid = map(int, sys.argv[1:5])
    program = sys.argv[5:]
    if uid:
        become(uid, gid)
    if sys.platform == "linux":
        # After the change of user, which would undo it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - as our parent says


if __name__ == "__main__":
    main()
