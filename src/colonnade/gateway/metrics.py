"""Health states as metrics, for Prometheus to scrape."""

from colonnade.observability.health import Health

__all__ = ["metrics_of"]


def metrics_of(health: Health) -> tuple[bytes, bytes]:
    """A gauge of each state that stands, in Prometheus' text format: the type of that, and the text."""
    # Who is never scraped need not load it
    from prometheus_client import CollectorRegistry, Gauge, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    registry = CollectorRegistry()
    states = Gauge(
        "colonnade_health_state", "1 while the state of this name stands.", ["state", "severity"], registry=registry
    )
    for state in health.states():
        states.labels(state.name, state.severity).set(1)
    return CONTENT_TYPE_PLAIN_0_0_4.encode(), generate_latest(registry)
