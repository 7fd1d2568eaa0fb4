"""What the probes of a service answer."""

from datetime import UTC, datetime, timedelta

import pytest

from colonnade.observability.health import Health, HealthBoard, HealthState, Phase, Severity

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> datetime:
        return self.moment

    def micros(self) -> int:
        return int(self.moment.timestamp() * 1_000_000)

    def monotonic(self) -> float:
        return self.moment.timestamp()


def state(name: str, severity: Severity, minutes: int | None = None) -> HealthState:
    """A state as a check tells it, with the moment of its beginning where the check knows it."""
    since = NOON + timedelta(minutes=minutes) if minutes is not None else None
    return HealthState(name, severity, f"{name} is the case", since)


def serving(*states: HealthState) -> Health:
    """The health of a service in which these states stand."""
    health = Health(Watch(), [lambda: states])
    health.phase = Phase.SERVING
    return health


def test_a_service_that_serves_and_lacks_nothing_passes_every_probe() -> None:
    """Nothing is wrong: startup, live and ready say so, and name nothing."""
    health = serving()
    assert [probe().ok for probe in (health.startup, health.live, health.ready)] == [True, True, True]
    assert health.ready().states == []


def test_a_service_that_starts_is_alive_but_neither_started_nor_ready() -> None:
    """Before its phase is serving, a service gets no requests and is not killed for that."""
    health = Health(Watch())
    assert [probe().ok for probe in (health.startup, health.live, health.ready)] == [False, True, False]


def test_a_service_that_stops_is_not_ready_and_needs_no_restart() -> None:
    """While it drains, requests go elsewhere."""
    health = serving()
    health.phase = Phase.STOPPING
    assert [probe().ok for probe in (health.startup, health.live, health.ready)] == [True, True, False]


@pytest.mark.parametrize(
    ("severity", "live", "ready"),
    [(Severity.DEGRADED, True, True), (Severity.DOWN, True, False), (Severity.FATAL, False, False)],
)
def test_each_severity_means_something_to_each_probe(severity: Severity, live: bool, ready: bool) -> None:
    """Degraded serves, unready waits, fatal asks for a new process; all of them are named."""
    health = serving(state("a hole in a chain", severity))
    assert (health.live().ok, health.ready().ok) == (live, ready)
    assert [named.name for named in health.ready().states] == ["a hole in a chain"]


def test_the_gravest_state_is_named_first_then_the_oldest() -> None:
    """Who reads one line of the report reads the one that matters most."""
    health = Health(
        Watch(),
        [
            lambda: [state("new", Severity.DEGRADED, 9), state("old", Severity.DEGRADED, 1)],
            lambda: [state("grave", Severity.DOWN, 20)],
        ],
    )
    assert [named.name for named in health.states()] == ["grave", "old", "new"]


def test_a_state_keeps_the_moment_of_its_beginning_until_it_is_gone() -> None:
    """Told again with other words it is the same state; after it was gone it is a new one."""
    watch, board = Watch(), HealthBoard()
    health = Health(watch, [board])
    board.raise_state(HealthState("store full", Severity.DOWN, "1 MiB left"))
    assert health.states() == [HealthState("store full", Severity.DOWN, "1 MiB left", NOON)]
    watch.moment += timedelta(minutes=1)
    board.raise_state(HealthState("store full", Severity.FATAL, "nothing left"))
    assert health.states() == [HealthState("store full", Severity.FATAL, "nothing left", NOON)]

    board.clear("store full")
    assert health.states() == []
    board.raise_state(HealthState("store full", Severity.DOWN, "again"))
    assert health.states()[0].since == NOON + timedelta(minutes=1)


def test_clearing_what_does_not_stand_changes_nothing() -> None:
    """The owner of a state need not remember whether it was raised."""
    board = HealthBoard()
    board.clear("nothing")
    assert board() == ()


def test_a_check_that_fails_is_a_state_itself() -> None:
    """A part that cannot say how it is, is not well; the others are heard all the same."""

    def broken() -> list[HealthState]:
        raise OSError("disk full")

    health = Health(Watch(), [broken])
    health.watch(lambda: [state("a hole in a chain", Severity.DEGRADED)])
    health.phase = Phase.SERVING
    report = health.ready()
    assert report.ok
    details = {named.name.rpartition(".")[2]: named.detail for named in report.states}
    assert details == {
        "broken": "The check itself failed: OSError: disk full",
        "a hole in a chain": "a hole in a chain is the case",
    }
