"""The places at which the messages of one consumer are handled, and who gets those that are free."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from colonnade.observability.foreground import Foreground
from colonnade.persistence.store import DueMessage, InboxRows
from colonnade.workers.consumers import Consumer
from colonnade.workers.pace import BURST, Pace
from colonnade.world import Clock

__all__ = ["BESIDE_REQUESTS", "FOR_NEW", "FRESH_MICROSECONDS", "IN_FLIGHT", "AtWork", "Places"]

IN_FLIGHT = 32
"""How many messages of one consumer are handled at the same time: one that waits for the outside stops no other."""

FOR_NEW = IN_FLIGHT // 2
"""How many of them are for those that came last, or are tried again, so that they do not wait for all others; a backlog
does not get them even when they are free."""

FOR_RETRIES = FOR_NEW // 2

FRESH_MICROSECONDS = 2_000_000
"""Messages that were sent longer ago are a backlog, where more wait than there are places."""

BROUGHT_MICROSECONDS = 30_000_000
"""For so long after a backlog began to come in, what was sent since then is no part of it, however late it came: it
waited behind that at its producer."""

BESIDE_REQUESTS = 4
"""How many messages of one consumer are begun together while requests are being answered, and no others before they are
done: a turn of the loop takes as long as all that is at work in it, and a request takes some six turns. As many are
done at once (`workers/at_once`) in a process meanwhile."""

YOUNG_SECONDS = 0.05
"""A message that has been at work for longer waits for the outside, and holds up no request."""


@dataclass(slots=True)
class AtWork:
    """A message that is being handled, since a monotonic second; `new` ones do not count as backlog."""

    message: DueMessage
    since: float
    new: bool
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Places:
    """The messages of one consumer that are being handled."""

    name: str
    consumer: Consumer
    foreground: Foreground
    at_work: dict[int, AtWork] = field(default_factory=dict)
    changed: bool = True
    """Whether there may be something to take."""
    _pace: Pace = field(default_factory=Pace)
    _resting: bool = False
    _brought_at: int = 0
    """When a backlog began to come in that had waited at its producer."""
    _letting_pass: bool = False

    @property
    def _new(self) -> int:
        return sum(work.new for work in self.at_work.values())

    @property
    def _for_backlog(self) -> int:
        return max(0, IN_FLIGHT - FOR_NEW - (len(self.at_work) - self._new))

    def clear(self) -> None:
        """Nothing is handled any more."""
        self.at_work.clear()
        self.changed = True

    def rest(self, clock: Clock) -> float | None:
        """After how many seconds more messages may begin, if there are some and a place is free."""
        now = clock.monotonic()
        rests = []
        if self._resting and self._for_backlog:
            rests.append(self._pace.rest(now))
        if self._letting_pass:
            rests.append(max((work.since + YOUNG_SECONDS - now for work in self.at_work.values()), default=0.0))
        return max(rests, default=None)  # both must be over

    async def take(self, inbox: InboxRows, clock: Clock, slots: Collection[int] | None = None) -> list[AtWork]:
        """The messages to handle next, of lines in `slots` where not of all; their places are taken."""
        if slots is not None and not slots:
            return []
        if not self.changed:
            return []
        free, self._letting_pass = self._free(clock.monotonic())
        if not free:
            return []
        self.changed = self._resting = False
        now = clock.micros()
        longest = await inbox.due(now, free, consumer=self.name, without=self.at_work, slots=slots)
        new: Sequence[DueMessage] = ()
        if len(longest) < free:
            self._letting_pass = False
            return self._begin(longest, new, free, clock.monotonic())
        fresh_since = self._fresh_since(longest[0], now)
        self._resting = longest[0].sent_at < fresh_since
        if self._resting or not self._letting_pass:
            # There may be more of them than places. Beside requests, to look costs more than it brings to a short line
            at_work = self.at_work
            again = await inbox.due(
                now, FOR_RETRIES, consumer=self.name, without=at_work, which="again", slots=slots
            )  # fmt: skip
            newest = await inbox.due(now, FOR_NEW, consumer=self.name, without=at_work, which="newest", slots=slots)
            if self._resting:
                newest = [each for each in newest if each.sent_at >= fresh_since]
            new = [*again, *newest]
        return self._begin(longest, new, free, clock.monotonic())

    def done_at_once(self, clock: Clock) -> None:
        """A new message takes no place, as it is done with the unit that brings it; a backlog rests beside it too."""
        self._pace.begin(clock.monotonic(), 0, 1)

    def done(self, work: AtWork, clock: Clock) -> None:
        """Its place is free."""
        del self.at_work[work.message.row]
        if not work.new:
            self._pace.done(clock.monotonic())
        self.changed = True  # its line may have a new head

    def _fresh_since(self, longest: DueMessage, now: int) -> int:
        came = longest.received_at
        if came - longest.sent_at > FRESH_MICROSECONDS and came - self._brought_at > BROUGHT_MICROSECONDS:
            self._brought_at = came
        fresh_since = now - FRESH_MICROSECONDS
        return fresh_since if now - self._brought_at > BROUGHT_MICROSECONDS else min(fresh_since, self._brought_at)

    def _free(self, now: float) -> tuple[int, bool]:
        """How many more messages may begin, and whether those are fewer because somebody waits for a request."""
        free = IN_FLIGHT - len(self.at_work)
        if not self.foreground.requests:
            return free, False
        young = any(now - work.since < YOUNG_SECONDS for work in self.at_work.values())
        beside = 0 if young else BESIDE_REQUESTS
        return min(free, beside), beside < free

    def _begin(self, longest: Sequence[DueMessage], new: Sequence[DueMessage], free: int, now: float) -> list[AtWork]:
        for_old = free
        if self._resting:
            for_old = min(BURST, self._for_backlog) if self._pace.rest(now) <= 0 else 0
        # Neither waits for ever behind the other, however few places there are
        for_new = min(free - min(for_old, free // 2), FOR_NEW - self._new)
        begun = {message.row: AtWork(message, now, True) for message in new[: max(0, for_new)]}
        count = len(begun)
        for message in longest:
            if len(begun) == min(free, count + for_old):
                break
            begun.setdefault(message.row, AtWork(message, now, False))
        if self._resting:
            self._pace.begin(now, len(begun) - count, count)
        self.at_work |= begun
        return list(begun.values())
