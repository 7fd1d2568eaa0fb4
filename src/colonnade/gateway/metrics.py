"""Health states as metrics, for Prometheus to scrape."""

from collections.abc import Iterator

from colonnade.observability.health import Health
from colonnade.presentation.caching import NO_STORE

__all__ = ["METRICS_PATH", "metrics_answer"]

METRICS_PATH = "/metrics"


def metrics_answer(health: Health) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a scrape: a gauge of each state that stands, in Prometheus' text format."""
    # Who is never scraped need not load it
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
    from prometheus_client.registry import Collector

    class States(Collector):
        """Told when asked, as the probes of health are."""

        def collect(self) -> Iterator[GaugeMetricFamily]:
            """One sample a state, as long as it stands."""
            family = GaugeMetricFamily(
                "colonnade_health_state", "1 while the state of this name stands.", labels=["state", "severity"]
            )
            for state in health.states():
                family.add_metric([state.name, state.severity], 1)
            yield family

    registry = CollectorRegistry()
    registry.register(States())
    body = generate_latest(registry)
    headers = [
        (b"content-type", CONTENT_TYPE_PLAIN_0_0_4.encode()),
        NO_STORE,
        (b"content-length", str(len(body)).encode()),
    ]
    return 200, headers, body
