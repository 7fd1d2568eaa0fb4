"""Health as named states: silence is never health, so whatever hinders a service says so by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from colonnade.world import Clock

__all__ = ["Health", "HealthBoard", "HealthCheck", "HealthReport", "HealthState", "Phase", "Severity"]


class Severity(StrEnum):
    """What a state means for those who ask."""

    DEGRADED = "degraded"
    """Something waits or fails, the service goes on answering."""
    DOWN = "down"
    """The service should get no requests until the state is gone."""
    FATAL = "fatal"
    """It will not recover by itself; a new process is the only remedy."""


@dataclass(frozen=True, slots=True)
class HealthState:
    """Something that is not as it should be: where, how bad, and a sentence that says what and what to do.

    `since` is when it was first seen; `Health` fills it in.
    """

    name: str
    severity: Severity
    detail: str
    since: datetime | None = None


HealthCheck = Callable[[], Sequence[HealthState]]
"""Tells what is wrong now, nothing when all is well; cheap, and never waits."""


class HealthBoard:
    """A check whose states are raised when something goes wrong and cleared when it is well again."""

    def __init__(self) -> None:
        self._states: dict[str, HealthState] = {}

    def __call__(self) -> Sequence[HealthState]:
        """The states that stand now."""
        return tuple(self._states.values())

    def raise_state(self, state: HealthState) -> None:
        """State that this is the case, in place of what was said under the same name."""
        self._states[state.name] = state

    def clear(self, name: str) -> None:
        """State that `name` is the case no more."""
        self._states.pop(name, None)


class Phase(StrEnum):
    """Where a service stands in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer to one probe: whether all is well for it, and every state that stands."""

    ok: bool
    phase: Phase
    states: Sequence[HealthState]


class Health:
    """The health of one service, or of a host: its phase and the states that its checks tell.

    The three probes are those of Kubernetes: startup (has it begun to serve?), live (would a new process help?) and
    ready (should requests come here?).
    """

    def __init__(self, clock: Clock, checks: Sequence[HealthCheck] = ()) -> None:
        self._clock = clock
        self._checks = list(checks)
        self._since: dict[str, datetime] = {}
        self.phase = Phase.STARTING

    def watch(self, check: HealthCheck) -> None:
        """Ask `check` too, from now on."""
        self._checks.append(check)

    def states(self) -> Sequence[HealthState]:
        """Every state that stands, the gravest first, then the oldest."""
        standing = [state for check in self._checks for state in _told(check)]
        now = self._clock.now()
        self._since = {state.name: self._since.get(state.name, now) for state in standing}
        dated = [replace(state, since=self._since[state.name]) for state in standing if state.since is None]
        dated += [state for state in standing if state.since is not None]
        return sorted(dated, key=lambda state: (-_GRAVITY[state.severity], state.since or now, state.name))

    def startup(self) -> HealthReport:
        """All is well once it has begun to serve."""
        return HealthReport(self.phase is not Phase.STARTING, self.phase, self.states())

    def live(self) -> HealthReport:
        """All is well unless a state is fatal."""
        states = self.states()
        return HealthReport(all(state.severity is not Severity.FATAL for state in states), self.phase, states)

    def ready(self) -> HealthReport:
        """All is well while it serves and no state keeps requests away."""
        states = self.states()
        able = all(state.severity is Severity.DEGRADED for state in states)
        return HealthReport(able and self.phase is Phase.SERVING, self.phase, states)


def _told(check: HealthCheck) -> Sequence[HealthState]:
    try:
        return check()
    except Exception as error:  # a part that cannot say how it is, is not well
        name = f"{check.__module__}.{getattr(check, '__qualname__', type(check).__qualname__)}"
        return (HealthState(name, Severity.DEGRADED, f"The check itself failed: {type(error).__name__}: {error}"),)


_GRAVITY = {Severity.DEGRADED: 0, Severity.DOWN: 1, Severity.FATAL: 2}
