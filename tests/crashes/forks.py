"""A process that forks one child a crash: everything is imported once, and each child dies at a step of its own."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import NamedTuple

import msgspec

from tests.crashes.disks import Steps
from tests.crashes.workloads import WORKLOADS

__all__ = ["DIED", "Forks", "Order", "forks"]

DIED = 9
ROOT = Path(__file__).parents[2]


class Order(NamedTuple):
    """Run `workload` in the folder `data`, and die at `step`; at none when it is 0."""

    workload: str
    data: str
    step: int


class Outcome(NamedTuple):
    """How a child ended, and how many steps it had taken."""

    status: int
    steps: int


class Forks:
    """Orders children, one after the other."""

    def __init__(self, process: "Popen[bytes]") -> None:
        self._process = process

    def run(self, workload: str, data: Path, step: int = 0) -> Outcome:
        """Let a child run; what it told is in the file `acknowledged` of `data`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(Order(workload, str(data), step)) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Outcome)


@contextmanager
def forks() -> Iterator[Forks]:
    """The forking process, for the length of the block."""
    with Popen([sys.executable, "-m", "tests.crashes.forks"], cwd=ROOT, stdin=PIPE, stdout=PIPE) as process:
        try:
            yield Forks(process)
        finally:
            process.kill()


def told(data: Path) -> list[str]:
    """What the child told before it died, line by line; a line it was writing when it died is none."""
    path = data / "acknowledged"
    return path.read_text().splitlines() if path.exists() else []


def _child(order: Order) -> None:
    counted = os.open(Path(order.data) / "steps", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    acknowledged = os.open(Path(order.data) / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def die(steps: int) -> None:
        os.write(counted, b"%d" % steps)
        os._exit(DIED)

    def tell(line: str) -> None:
        os.write(acknowledged, f"{line}\n".encode())

    steps = Steps(order.step, die)
    workload: Callable[[Path, Steps, Callable[[str], None]], None] = WORKLOADS[order.workload]
    workload(Path(order.data), steps, tell)
    os.write(counted, b"%d" % steps.taken)


def _serve() -> None:
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        pid = os.fork()
        if pid == 0:
            try:
                _child(order)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        steps = int((Path(order.data) / "steps").read_text() or 0)
        outcome = Outcome(os.waitstatus_to_exitcode(status), steps)
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
