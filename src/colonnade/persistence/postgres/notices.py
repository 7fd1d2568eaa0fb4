"""What other processes have added to the same store: told by the database after their commits, else looked for.

A notification inside a transaction would take a lock of the whole server; these are statements of their own, sent after
commits, one for all commits of five milliseconds. Who is alone sends none: whoever comes says so, and is answered.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from colonnade.persistence.failures import StoreClosed, StoreFailed
from colonnade.persistence.postgres.connections import Connections
from colonnade.persistence.postgres.failures import DRIVER_ERRORS
from colonnade.persistence.postgres.histories import Present
from colonnade.persistence.postgres.listening import Listener
from colonnade.persistence.postgres.rows import Pages
from colonnade.persistence.postgres.writer import Drawn
from colonnade.persistence.store import Touched
from colonnade.world import World

__all__ = ["Notices"]

SEND_SECONDS = 0.005
"""At most one notification in this time."""

LOOK_SECONDS = 0.1
"""How often the store is looked at while nothing is told: what others add is seen after half of it, as a rule."""

LISTENING_LOOK_SECONDS = 1.0
"""How often while it is told: a notification may get lost with its connection."""

ANSWER_SECONDS = 1.0
"""Who has been answered by nobody for so long is alone. Who answers later looks at everything by itself."""

_ALL = Touched.EVENTS | Touched.OUTBOX | Touched.INBOX | Touched.TIMERS | Touched.CHECKPOINTS | Touched.SHARES

_COME = " has come"


# Whoever arms a timer or moves a checkpoint draws no number from a sequence, but commits
_LOOK = """
    SELECT (SELECT last_value FROM {s}.positions), (SELECT last_value FROM {s}.inbox_rows),
        (SELECT coalesce(sum(w.batch), 0)::bigint FROM {s}.writers w WHERE w.id <> ALL ($1::uuid[])),
        {s}.is_continued()
"""


class _Added(NamedTuple):
    """What others have added, at least."""

    positions: int
    rows: int
    batches: int


class Notices:
    """Sends, listens, and looks."""

    def __init__(
        self,
        listener: Listener,
        schema: str,
        connections: Connections,
        pages: Pages,
        drawn: Drawn,
        own_writers: Sequence[bytes],
        world: World,
        tell: Callable[[Touched], None],
        looked: Callable[[], None],
        instance: str,
        present: Present,
    ) -> None:
        self._listener = listener
        self._channel = f"colonnade.{schema}"
        self._connections = connections
        self._pages = pages
        self._drawn = drawn
        self._world = world
        self._tell = tell
        self._looked = looked
        self._me = instance
        self._present = present
        self._has_come = False
        self._has_company = False
        self._alone_from = 0.0
        self._unsent = 0
        self._sending: asyncio.Task[None] | None = None
        self._own_writers = list(own_writers)
        self._look = pages.on(_LOOK)
        self._known = _Added(0, 0, 0)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen and look from now on; returns when it listens, or could not. Raises `StoreFailed`."""
        self._known = await self._added_by_others()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep_looking())]
        await self._listener.hear(self._channel, self._heard, self._listening_again)
        self._come()

    def committed(self, touched: Touched) -> None:
        """Let the other processes know, where there may be some."""
        if not self._is_alone:
            self._unsent |= touched.value
            self._send_soon()

    @property
    def _is_alone(self) -> bool:
        if self._has_company or not self._listener.is_listening:
            return False
        return self._world.clock.monotonic() >= self._alone_from

    def _come(self) -> None:
        self._has_come = True
        self._alone_from = self._world.clock.monotonic() + ANSWER_SECONDS
        self._send_soon()

    def _send_soon(self) -> None:
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def close(self) -> None:
        """Send what is not sent, and stop."""
        self._listener.leave(self._channel)
        for task in self._tasks:
            task.cancel()
        if self._sending is not None:
            self._tasks.append(self._sending)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        try:
            while self._unsent or self._has_come:
                word = f"{self._unsent} {self._me}{_COME if self._has_come else ''}"
                self._unsent, self._has_come = 0, False
                async with self._connections.reader() as connection:
                    await connection.execute("SELECT pg_notify($1, $2)", self._channel, word)
                if self._tasks[0].cancelling():
                    return
                await self._world.sleep(SEND_SECONDS)
        except (StoreFailed, StoreClosed, *DRIVER_ERRORS):
            self._unsent, self._has_come = 0, False  # others look for themselves
            self._has_company = True  # as far as is known
        finally:
            self._sending = None

    def _heard(self, payload: str) -> None:
        touched, _, sender = payload.partition(" ")
        has_come = sender.endswith(_COME)
        if sender.removesuffix(_COME) == self._me or not touched.isdecimal():
            return
        self._has_company = True
        if has_come:
            # Neither knew of the other: what either has committed meanwhile was told to nobody
            self._tell(_ALL)
            self.committed(_ALL)
        else:
            self._tell(Touched(int(touched)) & _ALL)

    def _listening_again(self) -> None:
        self._tell(_ALL)  # whatever was told while nobody listened
        self._come()

    async def _keep_looking(self) -> None:
        while True:
            await self._world.sleep(LISTENING_LOOK_SECONDS if self._listener.is_listening else LOOK_SECONDS)
            try:
                added = await self._added_by_others()
            except StoreFailed:
                continue  # told by whoever needs the store
            known = self._known
            touched = Touched(0)
            if added.positions > known.positions:
                touched |= Touched.EVENTS | Touched.OUTBOX
            if added.rows > known.rows:
                touched |= Touched.INBOX
            if added.batches != known.batches:
                touched |= Touched.TIMERS | Touched.CHECKPOINTS
            self._known = _Added(max(added.positions, known.positions), max(added.rows, known.rows), added.batches)
            if touched:
                self._tell(touched)
            self._looked()  # who draws and rolls back, or dies, tells nobody

    async def _added_by_others(self) -> _Added:
        """Of positions and rows at least so many: one's own are counted before they are drawn."""
        ((positions, rows, batches, continued),) = await self._pages.all(self._look, self._own_writers)
        self._present.seen(continued=continued)  # behind a pooler the server is another one and the connection is not
        return _Added(positions - self._drawn.positions, rows - self._drawn.rows, batches)
