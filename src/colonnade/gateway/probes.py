"""Health as an answer over HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import asdict

import msgspec

from colonnade.observability.health import Health, HealthReport
from colonnade.presentation.caching import NO_STORE

__all__ = ["PROBES", "health_answer"]

PROBES: Mapping[str, Callable[[Health], HealthReport]] = {
    "live": Health.live,
    "ready": Health.ready,
    "startup": Health.startup,
}


def health_answer(health: Health, probe: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of one of `PROBES`."""
    report = PROBES[probe](health)
    body = msgspec.json.encode(
        {
            "status": "ok" if report.ok else "not ok",
            "phase": report.phase,
            "states": [asdict(state) for state in report.states],
        }
    )
    headers = [
        (b"content-type", b"application/json"),
        NO_STORE,
        (b"content-length", str(len(body)).encode()),
    ]
    return 200 if report.ok else 503, headers, body
