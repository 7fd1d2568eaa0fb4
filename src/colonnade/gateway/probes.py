"""Health as an answer over HTTP: to the probes, and to whoever scrapes metrics."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import NamedTuple

import msgspec

from colonnade.gateway.metrics import metrics_of
from colonnade.observability.health import Health, HealthReport
from colonnade.presentation.caching import NO_STORE

__all__ = ["HealthAnswer", "health_answer", "is_about_health"]

_PROBES: Mapping[str, Callable[[Health], HealthReport]] = {
    "/health/live": Health.live,
    "/health/ready": Health.ready,
    "/health/startup": Health.startup,
}
_METRICS = "/metrics"


class HealthAnswer(NamedTuple):
    """What is answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def is_about_health(path: str) -> bool:
    """Whether a path asks for the health of all, which belongs to nobody in particular."""
    return path.startswith("/health/") or path == _METRICS


def health_answer(path: str, health: Health) -> HealthAnswer | None:
    """The answer where `path` is that of a probe or of the metrics, else None."""
    if (probe := _PROBES.get(path)) is not None:
        report = probe(health)
        told = {
            "status": "ok" if report.ok else "not ok",
            "phase": report.phase,
            "states": [asdict(state) for state in report.states],
        }
        return _answer(200 if report.ok else 503, b"application/json", msgspec.json.encode(told))
    return _answer(200, *metrics_of(health)) if path == _METRICS else None


def _answer(status: int, type: bytes, body: bytes) -> HealthAnswer:
    headers = [(b"content-type", type), NO_STORE, (b"content-length", str(len(body)).encode())]
    return HealthAnswer(status, headers, body)
