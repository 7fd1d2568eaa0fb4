"""`make up` and Ctrl-C, as they are typed."""

import json
import os
import re
import select
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.make.terminal import CTRL_C, PATIENCE, on_a_terminal, read_until

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"
STILLNESS = 1.0  # seconds in which what must not happen would have happened

ORDER = json.dumps(
    {
        "customer_id": "00000000-0000-0000-0000-000000000040",
        "store_id": 340,
        "lines": [{"product_id": 9859128, "quantity": 1}],
    }
).encode()


@contextmanager
def an_order_half_sent(port: int) -> Iterator[socket.socket]:
    """A connection over which an order is under way: its last byte is missing."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(
            b"POST /api/ordering/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(ORDER)
        )
        # The host asks for the body once the request is being handled
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        connection.sendall(ORDER[:-1])
        yield connection


@contextmanager
def watched(pid: int) -> Iterator[int]:
    """A descriptor that becomes readable when the process ends."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_ctrl_c_ends_grocer_and_then_what_it_had_started(tmp_path: Path) -> None:
    """A request under way is answered, the card processor lives until then; make ends with 0 and leaves no process."""
    with on_a_terminal(
        MAKE,
        "up",
        "PORT=0",
        f"DATA={tmp_path}",
        f"BIN={Path(sys.executable).parent}",
        "-o",
        ".venv/run.stamp",
        cwd=ROOT,
    ) as (make, terminal):
        banner = read_until(terminal, "Ctrl-C")
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", banner)
        assert found is not None
        (launcher,) = children(make.pid)
        (host,) = children(launcher)
        (processor,) = children(host)
        with (
            watched(host) as host_ends,
            watched(processor) as processor_ends,
            an_order_half_sent(int(found[1])) as order,
        ):
            os.write(terminal, CTRL_C)
            read_until(terminal, "is stopping")
            assert select.select([host_ends, processor_ends], [], [], STILLNESS)[0] == []
            order.sendall(ORDER[-1:])
            assert order.recv(1024).startswith(b"HTTP/1.1 201 ")
            assert make.wait(PATIENCE) == 0
            assert select.select([host_ends], [], [], PATIENCE)[0]
            assert select.select([processor_ends], [], [], PATIENCE)[0]
