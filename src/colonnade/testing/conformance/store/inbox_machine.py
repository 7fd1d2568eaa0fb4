"""The inbox beside a model of it: lines, early messages, attempts, parked messages."""

from itertools import count, product
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from colonnade.persistence.failures import LineBusy, MissedRow
from colonnade.persistence.store import Committed, DueMessage
from colonnade.persistence.unit import (
    ChainId,
    Deliver,
    Discard,
    Effect,
    Handled,
    HandledAtOnce,
    Incoming,
    Park,
    Receive,
    Retry,
    Unpark,
)
from colonnade.testing.conformance.store.database import NOW, StoreSuite, missing, unit
from colonnade.testing.conformance.store.lines import LineId, Lines, Message
from colonnade.testing.conformance.store.machine import StoreMachine, run_machine

__all__ = ["InboxMachineSuite"]

CHAIN = ChainId("shop", UUID(int=9), "shop.events", 3)
# Mostly one line, so that much happens in it
CONSUMERS = st.sampled_from(["subscriber:Till"] * 4 + ["handlers"])
FAR = 1 << 60
KEYS = st.sampled_from(["a"] * 4 + ["b"])
AGES = st.integers(0, 5)
LANES = st.sampled_from([""] * 4 + ["timers", "controls"])
WINDOW = 6
"""How far ahead of its mark messages of the chain come."""


class InboxMachine(StoreMachine):
    """Sends, receives, handles, at once or later, and fails; looks at all that can be seen after each step."""

    def __init__(self, suite: StoreSuite) -> None:
        super().__init__(suite)
        self.model = Lines()
        self.now = NOW
        self.received = 0
        self.early: set[int] = set()
        self.sent: dict[int, tuple[str, str, int]] = {}
        self.numbers = count(1)
        self.rows: dict[int, int] = {}

    def commit(self, *effects: Effect) -> None:
        """Commit what must succeed."""
        (result,) = self.commit_all([unit(*effects, time=self.now)])
        assert isinstance(result, Committed), result

    @rule(messages=st.lists(st.tuples(CONSUMERS, KEYS, LANES), min_size=1, max_size=3))
    def deliver(self, messages: list[tuple[str, str, str]]) -> None:
        """The service writes to itself."""
        effects: list[Effect] = []
        for consumer, key, lane in messages:
            envelope = b"own %d" % next(self.numbers)
            effects.append(Deliver(consumer, key, envelope, lane))
            self.model.add((consumer, key, lane), envelope, self.now)
        self.commit(*effects)

    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        """Messages of a chain come in any order, some of them again."""
        ahead = range(self.received + 1, self.received + 1 + WINDOW)
        came = data.draw(st.lists(st.sampled_from(ahead), min_size=1, max_size=WINDOW, unique=True))
        for seq in came:
            self.sent.setdefault(seq, (data.draw(CONSUMERS), data.draw(KEYS), self.now - data.draw(AGES)))
        known = {*came, *self.early}
        mark = self.received
        while mark + 1 in known:
            mark += 1
        completed = sorted(seq for seq in self.early if seq <= mark and seq not in came)
        messages = []
        for seq in came:
            consumer, key, sent_at = self.sent[seq]
            messages.append(Incoming(seq, seq - 1, consumer, key, b"theirs %d" % seq, seq <= mark, sent_at))
        self.commit(Receive(CHAIN, self.received, mark, messages, completed))
        for message in messages:
            if message.seq not in self.early:
                line = (message.consumer, message.key, "chain")
                sent_at = message.sent_at
                self.model.add(
                    line, message.envelope, self.now, place=message.seq, ready=message.ready, sent_at=sent_at
                )
        self.model.complete("chain", set(range(mark + 1)))
        self.early = {seq for seq in known if seq > mark}
        self.received = mark

    @rule(line=st.tuples(CONSUMERS, KEYS), follows=st.tuples(CONSUMERS, KEYS))
    def do_at_once(self, line: tuple[str, str], follows: tuple[str, str]) -> None:
        """What the service writes to itself is done with the unit that writes it, and writes again."""
        envelope = b"follows %d" % next(self.numbers)
        if self.commit_at_once((*line, ""), HandledAtOnce(*line), Deliver(*follows, envelope)):
            self.model.add((*follows, ""), envelope, self.now)

    @precondition(lambda self: self.received + 1 not in self.early)
    @rule(data=st.data(), follows=st.tuples(CONSUMERS, KEYS))
    def receive_at_once(self, data: st.DataObject, follows: tuple[str, str]) -> None:
        """The next message of the chain is done with the unit that moves its mark, and what came early is woken."""
        seq = mark = self.received + 1
        consumer, key, _ = self.sent.get(seq) or (data.draw(CONSUMERS), data.draw(KEYS), self.now)
        while mark + 1 in self.early:
            mark += 1
        completed = [early for early in sorted(self.early) if early <= mark]
        receive = Receive(CHAIN, self.received, mark, [], completed, [(consumer, key)])
        envelope = b"follows %d" % next(self.numbers)
        if self.commit_at_once((consumer, key, "chain"), receive, Deliver(*follows, envelope)):
            self.sent.setdefault(seq, (consumer, key, self.now))
            self.model.complete("chain", set(range(mark + 1)))
            self.model.add((*follows, ""), envelope, self.now)
            self.early -= set(completed)
            self.received = mark

    def commit_at_once(self, line: LineId, brings: Effect, follows: Effect) -> bool:
        """Commit a message together with what does it; it loses, all of it, where any other is in its line."""
        waits = any(id == line for id, _, _ in self.model.all())
        together = unit(brings, time=self.now)
        together.followers = [unit(follows, time=self.now)]
        (result,) = self.commit_all([together])
        assert isinstance(result, LineBusy if waits else Committed), result
        return not waits

    @precondition(lambda self: self.at_hand())
    @rule(data=st.data())
    def handle(self, data: st.DataObject) -> None:
        """A message is done, though it need not be the first of its line any more."""
        message, row = data.draw(st.sampled_from(self.at_hand()))
        self.model.handle(message.envelope)
        self.commit(Handled(row))

    @precondition(lambda self: self.at_hand())
    @rule(data=st.data(), wait=st.integers(0, 3))
    def retry(self, data: st.DataObject, wait: int) -> None:
        """A message failed, and waits."""
        message, row = data.draw(st.sampled_from(self.at_hand()))
        self.model.retry(message.envelope, message.attempts + 1, self.now + wait)
        self.commit(Retry(row, message.attempts, self.now + wait, "failed"))

    @precondition(lambda self: self.at_hand())
    @rule(data=st.data(), hold=st.booleans())
    def park(self, data: st.DataObject, hold: bool) -> None:
        """A message failed for good."""
        message, row = data.draw(st.sampled_from(self.at_hand()))
        self.model.park(message.envelope, 20, hold=hold)
        self.commit(Park(row, 20, "poison", hold))

    @precondition(lambda self: self.parked())
    @rule(data=st.data(), edit=st.booleans())
    def unpark(self, data: st.DataObject, edit: bool) -> None:
        """A parked message is tried again, perhaps edited."""
        message = data.draw(st.sampled_from(self.parked()))
        edited = b"edited %d" % next(self.numbers) if edit else None
        row = self.row_of(message)
        self.model.unpark(message.envelope, edited)
        self.commit(Unpark(row, edited))

    @precondition(lambda self: self.parked())
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        """A parked message is given up."""
        message = data.draw(st.sampled_from(self.parked()))
        row = self.row_of(message)
        self.model.handle(message.envelope)
        self.commit(Discard(row))

    @precondition(lambda self: self.at_hand())
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """A unit that did something to the inbox, and then could not be written, did nothing."""
        _, row = data.draw(st.sampled_from(self.at_hand()))
        effects: list[Effect] = [Handled(row), Retry(row, 9, FAR, "no"), Park(row, 9, "no", hold=True)]
        effect = data.draw(st.sampled_from(effects))
        (result,) = self.commit_all([unit(Deliver("handlers", "a", b"never"), effect, missing(self.store, 1))])
        assert isinstance(result, MissedRow)

    @rule(ticks=st.integers(1, 3))
    def wait(self, ticks: int) -> None:
        """Time goes by."""
        self.now += ticks

    @rule()
    def open_again(self) -> None:
        """What is there outlives the process."""
        self.reopen()

    @invariant()
    def is_as_the_model_says(self) -> None:
        """In all that can be seen of it."""
        self.run(self._look())

    async def _look(self) -> None:
        await self._look_at_what_is_due()
        await self._look_at_what_waits()

    async def _look_at_what_is_due(self) -> None:
        expected = self.model.due(self.now)
        inbox = self.store.inbox
        due = await inbox.due(self.now, 100)
        assert [seen(message) for message in due] == [shown(id, message) for id, message in expected]
        self.rows |= {message.arrived: each.row for (_, message), each in zip(expected, due, strict=True)}
        for consumer in ("subscriber:Till", "handlers"):
            own = [each for each in due if each.consumer == consumer]
            assert await inbox.due(self.now, 100, consumer=consumer) == own
            rows = [each.row for each in own]
            rest = await inbox.due(self.now, 2, consumer=consumer, without=rows[:1])
            assert [each.row for each in rest] == rows[1:3]
        oldest = await inbox.oldest()
        assert (oldest and oldest.sent_at) == min((first.sent_at for _, first in self.model.due(FAR)), default=None)
        later = [moment for moment in self.model.moments() if moment > self.now]
        assert await inbox.next_due_after(self.now) == min(later, default=None)

    async def _look_at_what_waits(self) -> None:
        everything = list(self.model.all())
        inbox = self.store.inbox
        assert await inbox.unhandled() == sum(not message.parked for _, _, message in everything)
        parked = [(line, message) for _, line, message in everything if message.parked]
        assert await inbox.parked_count() == len(parked)
        assert [(each.envelope, each.attempts, each.held, each.behind) for each in await inbox.parked()] == [
            (message.envelope, message.attempts, message.holds, line.behind(message)) for line, message in parked
        ]
        heads = [(line, line.first()) for line in self.model.lines.values()]
        held = sum(line.behind(first) for line, first in heads if first is not None and first.parked)
        assert await inbox.held() == held
        assert await inbox.early(CHAIN) == [(seq, seq - 1) for seq in sorted(self.early)]
        assert [chain.received for chain in await inbox.chains()] == ([self.received] if self.sent else [])
        for consumer, key in product(("subscriber:Till", "handlers"), ("a", "b")):
            waiting = any(
                id[:2] == (consumer, key) and id[2] in ("", "chain") and not message.parked and message.time < self.now
                for id, _, message in everything
            )
            assert await inbox.waiting_before(consumer, key, self.now) == waiting

    def parked(self) -> list[Message]:
        """The messages that are parked."""
        return [message for _, _, message in self.model.all() if message.parked]

    def at_hand(self) -> list[tuple[Message, int]]:
        """Messages that were due once and are not done: a worker may be at them, though another is first now."""
        return [
            (message, self.rows[message.arrived])
            for _, _, message in self.model.all()
            if message.arrived in self.rows and not message.parked
        ]

    def row_of(self, message: Message) -> int:
        """The row of a parked message."""
        return next(each.row for each in self.run(self.store.inbox.parked()) if each.envelope == message.envelope)


def seen(message: DueMessage) -> tuple[str, str, bytes, int, int, int]:
    """What a message that is due says of itself."""
    return (
        message.consumer, message.key, message.envelope, message.attempts, message.received_at, message.sent_at,
    )  # fmt: skip


def shown(id: LineId, message: Message) -> tuple[str, str, bytes, int, int, int]:
    """What the model says of it."""
    return (*id[:2], message.envelope, message.attempts, message.time, message.sent_at)


class InboxMachineSuite(StoreSuite):
    """Whatever is done to it."""

    def test_the_inbox_is_what_its_model_says(self) -> None:
        """Of each line the first message is due and no other; nothing is lost, doubled, overtaken or miscounted."""
        run_machine(InboxMachine, self, examples=self.machine_runs, steps=30)
