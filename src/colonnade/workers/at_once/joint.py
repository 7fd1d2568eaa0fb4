"""The messages whose units join one commit, and those that follow from them."""

import asyncio
from collections.abc import Callable, Collection, Sequence

import msgspec

from colonnade.persistence.failures import NotAtOnce
from colonnade.persistence.store import Committed
from colonnade.persistence.unit import Unit
from colonnade.persistence.work import Work, current_work
from colonnade.workers.at_once.messages import AtHand, leaves_nothing_to_look_for

__all__ = ["JOINED", "Doing", "Joint"]

JOINING_SECONDS = 0.05
"""How long a commit waits for the units that are to join it."""

HARDLY = 0.2
"""Who has had less than this part of that time is late because of those that it follows from, not by itself."""

JOINED = 64
"""The most messages in one commit: what follows from what follows has an end."""


class Doing(msgspec.Struct, eq=False):
    """A message that is being done; `after` is the one whose unit sends it, `behind` the one before it in its line."""

    message: AtHand
    joint: "Joint"
    after: "Doing | None"
    behind: "Doing | None"
    since: float
    """The second of the loop's clock in which it began."""
    outcome: asyncio.Future[Committed | None]
    """None where it is not committed with the others: an exception that waits here would hold its own frames."""
    task: asyncio.Task[None] | None = None
    unit: Unit | None = None
    work: Work | None = None

    @property
    def may_be_followed(self) -> bool:
        """Whether the next in its line may be done with it."""
        return self.unit is not None and leaves_nothing_to_look_for(self.unit)


class Joint:
    """One commit; `start` begins to do a message, or says that it is not to be tried."""

    def __init__(self, start: Callable[[Doing], bool]) -> None:
        self.loop = asyncio.get_running_loop()  # asked for once: each time is a system call
        self.begun: list[Doing] = []
        self._start = start
        self._lines: dict[tuple[str, str], Doing | None] = {}
        """The last in each line; None where one goes into the inbox, behind which nobody may come."""
        self._missing = 0
        self._complete: asyncio.Future[bool] | None = None
        self._closed = False

    def begin(self, message: AtHand, after: Doing | None = None) -> None:
        """Begin to do a message, unless there is another in its line that has not joined: that goes first."""
        line = message.line
        is_first = line not in self._lines
        behind = self._lines.get(line)
        self._lines[line] = None
        if len(self.begun) >= JOINED or not (is_first or (behind is not None and behind.may_be_followed)):
            return
        doing = Doing(message, self, after, behind, self.loop.time(), self.loop.create_future())
        if self._start(doing):
            self._lines[line] = doing
            self.begun.append(doing)
            self._missing += 1

    async def join(self, doing: Doing, unit: Unit, sent: Sequence[AtHand]) -> Committed:
        """Let the unit of a message join, and what it has `sent`; back when it is committed; raises `NotAtOnce`."""
        if self._closed:
            raise NotAtOnce
        doing.unit, doing.work = unit, current_work.get()
        for message in sent:
            self.begin(message, doing)
        self.ended()
        committed = await doing.outcome
        if committed is None:
            raise NotAtOnce
        return committed

    def ended(self) -> None:
        """One that was missing has joined, or never will."""
        self._missing -= 1
        if not self._missing:
            self._settle(complete=True)

    async def wait(self) -> Sequence[Doing]:
        """Return when nobody is missing, or it has taken too long: who took long. Nobody joins from then on."""
        self._complete = self.loop.create_future()
        # A future and a timer: a timeout around an event costs several times as much, for every commit
        too_long = self.loop.call_later(JOINING_SECONDS, self._settle)
        try:
            if self._missing and not await self._complete:
                return self._give_up()
        except asyncio.CancelledError:
            self._give_up()
            raise
        finally:
            too_long.cancel()
            self._closed = True
        return ()

    def joined(self) -> list[Doing]:
        """Those whose units are to be committed; who was cancelled meanwhile lets go of its streams without that."""
        if gone := [doing for doing in self.begun if doing.unit is not None and doing.outcome.done()]:
            self.dismiss(gone)
        return [doing for doing in self.begun if doing.unit is not None]

    def dismiss(self, some: Collection[Doing]) -> None:
        """Commit these without their messages, without what follows from them and without what goes on from them."""
        gone = {*some}
        for doing in self.begun:  # whoever follows began later
            if doing in gone or doing.after in gone or doing.behind in gone:
                gone.add(doing)
                doing.unit = None
                if not doing.outcome.done():
                    doing.outcome.set_result(None)

    def end(self) -> None:
        """Commit whoever has not been by itself, and let go of all: in a circle they would wait for the collector."""
        self.dismiss(self.begun)
        self.begun, self._lines = [], {}

    def _settle(self, *, complete: bool = False) -> None:
        if self._complete is not None and not self._complete.done():
            self._complete.set_result(complete)

    def _give_up(self) -> list[Doing]:
        late = [each for each in self.begun if each.unit is None and each.task is not None and not each.task.done()]
        for doing in late:
            if doing.task is not None:
                doing.task.cancel()
        had_time = self.loop.time() - HARDLY * JOINING_SECONDS
        return [each for each in late if each.since <= had_time]
