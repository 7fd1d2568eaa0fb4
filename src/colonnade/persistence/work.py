"""The work at hand: what one run of a handler holds, loads and wants to change."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any

from colonnade.domain.aggregate import AnyAggregate
from colonnade.messages import Event
from colonnade.persistence.streams import StreamQueues
from colonnade.persistence.unit import Effect

__all__ = ["NoWorkAtHand", "StreamBusy", "Work", "current_work", "work_before", "work_at_hand"]


class StreamBusy(Exception):
    """A second stream is held by another command; the run starts again with all of its streams taken in order."""

    def __init__(self, streams: frozenset[str]) -> None:
        super().__init__(streams)
        self.streams = streams


class NoWorkAtHand(RuntimeError):
    """A repository or outbox was used where no command is being handled."""

    def __str__(self) -> str:
        return (
            "There is no unit of work here: repositories and outboxes work only inside a command handler, in its own "
            "task or tasks that it awaits."
        )


class Work:
    """One run of one handler. Streams that it took stay taken until it is released, after which it takes none.

    One that is not `patient` waits for no stream that another holds, and takes none that another is about to begin: it
    may be there for that one's sake. It may go on with what the work `before` it in its line holds, which is committed
    with it or earlier: what is recorded there comes first.
    """

    __slots__ = (
        "_is_loading",
        "_loaded",
        "_queues",
        "aggregates",
        "before",
        "begun",
        "busy",
        "changed",
        "effects",
        "held",
        "later",
        "lent",
        "over",
        "patient",
        "refused",
        "remembered",
        "taken_over",
    )

    def __init__(
        self,
        queues: StreamQueues,
        held: Iterable[str] = (),
        *,
        patient: bool = True,
        before: "Work | None" = None,
    ) -> None:
        self._queues = queues
        self.patient = patient
        self.before = before
        # How many events of those recorded are of the work before, by stream
        self.taken_over: dict[str, int] = {}
        # The streams with which another goes on: whether they are as their aggregates say, only that one knows
        self.lent: set[str] = set()
        self.over = False
        self.refused = False
        self.held = [*held]
        self.begun: list[str] = []
        # Kept beside being raised: a handler that catches all, or loads in a task group, hides the exception
        self.busy: StreamBusy | None = None
        self._is_loading = False
        self._loaded: asyncio.Event | None = None
        self.aggregates: dict[str, AnyAggregate] = {}
        # The streams of those that were in memory already
        self.remembered: set[str] = set()
        self.effects: list[Effect] = []
        # The service's own tables that `effects` write
        self.changed: set[str] = set()
        # Effects that need the key of the unit, which is known only when the handler has returned
        self.later: list[Callable[[str], Effect]] = []

    async def begin_loading(self, streams: Iterable[str]) -> None:
        """Take `streams` when no other task of the handler is loading; raises as `take` does.

        One after the other, else two could load one stream twice, or take out of order. A lock would cost more than
        all the rest of this where nobody waits.
        """
        while self._is_loading:
            if self._loaded is None:
                self._loaded = asyncio.Event()
            await self._loaded.wait()
        self._is_loading = True
        try:
            await self.take(streams)
        except BaseException:
            self.end_loading()
            raise

    def end_loading(self) -> None:
        """Let the handler's other tasks load."""
        self._is_loading = False
        if self._loaded is not None:
            self._loaded.set()
            self._loaded = None

    async def take_all(self, streams: Iterable[str]) -> None:
        """Take `streams` in their sorted order, in which no two works can wait for each other."""
        queues = self._queues
        for stream in sorted(streams):
            if not queues.try_take(stream):
                await queues.take(stream)
            if self.over:
                self._queues.leave(stream)
                raise NoWorkAtHand
            self.held.append(stream)

    async def take(self, streams: Iterable[str]) -> None:
        """Take more streams; raises `StreamBusy` rather than wait while others are held out of order."""
        wanted = [stream for stream in streams if stream not in self.held]
        if not self.held and self.patient:
            await self.take_all(set(wanted))
            return
        for stream in sorted(set(wanted)):
            if self.before is not None and self._take_over(stream, self.before):
                continue
            if (not self.patient and self._queues.is_announced(stream)) or not self._queues.try_take(stream):
                self.busy = StreamBusy(frozenset((*self.held, *wanted)))
                raise self.busy
            self.held.append(stream)

    def _take_over(self, stream: str, before: "Work") -> bool:
        # What a refused one has recorded is dropped, though its aggregates have been through it
        if before.over or before.refused or before._queues is not self._queues or stream not in before.held:
            return False
        # What came back has been through what became of nothing
        aggregate = before.aggregates.get(stream) if stream not in before.lent else None
        if aggregate is None:
            return False
        before.held.remove(stream)
        before.lent.add(stream)
        self.held.append(stream)
        self.aggregates[stream] = aggregate
        self.taken_over[stream] = len(aggregate.recorded)
        return True

    def recorded(self, stream: str) -> tuple[int, Sequence[Event]]:
        """What this work has recorded on a stream, and the version before it."""
        aggregate = self.aggregates[stream]
        before = self.taken_over.get(stream, 0)
        if before and self.before is not None and aggregate is not self.before.aggregates[stream]:
            before = 0  # put in the place of what was taken over
        return aggregate.version + before, aggregate.recorded[before:] if before else aggregate.recorded

    def announce(self) -> None:
        """Tell which streams its unit begins that it does not hold, as it added what it had not looked for."""
        added = [stream for stream, each in self.aggregates.items() if each.recorded and stream not in self.held]
        if added:
            self._queues.announce(added)
            self.begun = added

    def release(self) -> None:
        """Let the next in line have the streams."""
        self.over = True
        self._queues.retract(self.begun)
        self.begun = []
        for stream in self.held:
            self._give(stream)
        self.held.clear()

    def release_when(self, decided: "asyncio.Future[Any]") -> None:
        """End the work now, and let the next in line have the streams when `decided` is done."""
        self.over = True
        held, self.held = self.held, []
        begun, self.begun = self.begun, []

        def leave(_: object) -> None:
            self._queues.retract(begun)
            for stream in held:
                self._give(stream)

        decided.add_done_callback(leave)

    def _give(self, stream: str) -> None:
        """To the last work before that has not ended, of those that had it, else to the next in line."""
        work = self
        while stream in work.taken_over and work.before is not None:
            work = work.before
            if not work.over:
                work.held.append(stream)
                return
        self._queues.leave(stream)


current_work: ContextVar[Work | None] = ContextVar("colonnade.work", default=None)

work_before: ContextVar[Work | None] = ContextVar("colonnade.work_before", default=None)
"""For what is done at once: the work of the message before it in its line, which is committed with it."""


def work_at_hand() -> Work:
    """The run of the handler that is calling; raises `NoWorkAtHand`."""
    work = current_work.get()
    if work is None or work.over:
        raise NoWorkAtHand
    return work
