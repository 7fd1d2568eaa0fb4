"""The log beside a model of it: lists of names, one for each stream, and one for all."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import rule

from colonnade.persistence.failures import MissedRow, VersionConflict
from colonnade.persistence.store import Committed, StoredEvent
from colonnade.persistence.unit import Append, Effect, NewEvent, Snapshot, Unit
from colonnade.testing.conformance.store.database import NOW, WORLD, StoreSuite, missing, unit
from colonnade.testing.conformance.store.machine import StoreMachine, run_machine

__all__ = ["LogMachineSuite"]

STREAMS = st.sampled_from(["Sale/1", "Sale/2", "Stock/1"])
NAMES = st.lists(st.sampled_from(["shop.A", "shop.B", "shop.C"]), max_size=3)
APPENDS = st.lists(st.tuples(STREAMS, st.sampled_from([0, 0, 0, 0, -1, 1]), NAMES), min_size=1, max_size=2)
UNITS = st.lists(st.tuples(APPENDS, st.sampled_from([True, True, True, False])), min_size=1, max_size=4)


class LogMachine(StoreMachine):
    """Commits units that may win, lose or fail, and reads in all ways."""

    def __init__(self, suite: StoreSuite) -> None:
        super().__init__(suite)
        self.log: list[StoredEvent] = []
        self.snapshots: dict[str, int] = {}

    def version(self, stream: str) -> int:
        """At which version the model has `stream`."""
        return sum(event.stream == stream for event in self.log)

    @rule(units=UNITS)
    def commit(self, units: list[tuple[list[tuple[str, int, list[str]]], bool]]) -> None:
        """Those that win have won in one order, and those that lose had somebody to lose to."""
        before = Counter(event.stream for event in self.log)
        made = [self._unit(appends, fit) for appends, fit in units]
        results = self.commit_all(made)
        added = self.run(self.store.log.read(self.log[-1].position if self.log else 0, 1_000))
        end = self.run(self.store.log.end())
        kept = {event.id for event in added}
        touched = {event.stream for event in added}
        for each, (_, fit), result in zip(made, units, results, strict=True):
            appends = [effect for effect in each.effects if isinstance(effect, Append)]
            ids = {event.id for append in appends for event in append.events}
            if isinstance(result, Committed):
                assert fit
                assert ids <= kept
                assert max((event.position for event in added if event.id in ids), default=0) <= result.position <= end
                kept -= ids
                continue
            assert not ids & kept
            if isinstance(result, MissedRow):
                assert not fit
            else:
                assert isinstance(result, VersionConflict)
                assert result.expected != result.actual
                assert result.stream in {append.stream for append in appends}
                assert result.stream in touched or self._would_lose(appends, before)
        assert not kept
        for event in added:
            before[event.stream] += 1
            assert event.version == before[event.stream]
        positions = [event.position for event in self.log + added]
        assert positions == sorted(set(positions))
        self.log += added

    @rule(stream=STREAMS, back=st.integers(0, 2))
    def take_snapshot(self, stream: str, back: int) -> None:
        """Keep the state of a stream at its version, or at one that was; the newest stays."""
        version = max(0, self.version(stream) - back)
        (result,) = self.commit_all([unit(Snapshot(stream, version, 1, b"%d" % version))])
        assert isinstance(result, Committed)
        self.snapshots[stream] = max(version, self.snapshots.get(stream, 0))

    @rule()
    def open_again(self) -> None:
        """What is there outlives the process."""
        history = self.store.history
        self.reopen()
        assert self.store.history == history

    @rule(after=st.integers(0, 40), limit=st.integers(1, 9), names=st.none() | NAMES)
    def read(self, after: int, limit: int, names: list[str] | None) -> None:
        """A page of the log, of some names or of all."""
        position = self.log[after].position if after < len(self.log) else 0
        expected = [event for event in self.log if event.position > position and (names is None or event.name in names)]
        assert self.run(self.store.log.read(position, limit, names)) == expected[:limit]
        assert self.run(self.store.log.end()) == (self.log[-1].position if self.log else 0)

    @rule(stream=STREAMS, after=st.integers(0, 9), limit=st.integers(1, 9))
    def read_stream(self, stream: str, after: int, limit: int) -> None:
        """A page of a stream."""
        expected = [event for event in self.log if event.stream == stream and event.version > after]
        assert self.run(self.store.log.stream(stream, after, limit)) == expected[:limit]

    @rule(streams=st.lists(STREAMS, min_size=1, max_size=3, unique=True), snapshots=st.booleans())
    def load(self, streams: list[str], snapshots: bool) -> None:
        """Aggregates, from their snapshots or from their first events."""
        for stream, loaded in zip(streams, self.run(self.store.log.load(streams, snapshots=snapshots)), strict=True):
            version = self.snapshots.get(stream) if snapshots else None
            assert (loaded.snapshot.version if loaded.snapshot else None) == version
            expected = [event for event in self.log if event.stream == stream and event.version > (version or 0)]
            assert list(loaded.events) == [(event.name, event.schema, event.data) for event in expected]

    @rule()
    def list_streams(self) -> None:
        """The streams of a category."""
        expected = sorted({event.stream for event in self.log if event.stream.startswith("Sale/")})
        assert self.run(self.store.log.streams("Sale")) == expected

    def _unit(self, appends: list[tuple[str, int, list[str]]], fit: bool) -> Unit:
        effects: list[Effect] = []
        versions: dict[str, int] = {}
        for stream, off, names in appends:
            expected = max(0, versions.get(stream, self.version(stream)) + off)
            ids = [WORLD.ids.new() for _ in names]
            events = [NewEvent(id, name, 1, id.bytes.hex().encode()) for id, name in zip(ids, names, strict=True)]
            effects.append(Append(stream, expected, events))
            versions[stream] = expected + len(names)
        return unit(*effects, *(() if fit else (missing(self.store, 1),)), time=NOW)

    def _would_lose(self, appends: list[Append], before: Counter[str]) -> bool:
        versions = Counter(before)
        for append in appends:
            if versions[append.stream] != append.expected:
                return True
            versions[append.stream] += len(append.events)
        return False


class LogMachineSuite(StoreSuite):
    """Whatever is done to it."""

    def test_the_log_is_what_its_model_says(self) -> None:
        """Units win in one order, leave no holes and nothing by half; every way to read shows the same log."""
        run_machine(LogMachine, self, examples=self.machine_runs, steps=30)
