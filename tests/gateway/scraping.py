"""What a scrape of an application's metrics says of its health."""

from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp

from colonnade.testing.http import request

__all__ = ["states_at", "states_in"]


async def states_at(app: ASGIApp, path: str) -> dict[tuple[str, str], float]:
    """The states that stand, by name and severity, as Prometheus reads them."""
    answer = await request(app, "GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    return states_in(answer.body.decode())


def states_in(text: str) -> dict[tuple[str, str], float]:
    """The same, in the text of a scrape."""
    (family,) = text_string_to_metric_families(text)
    assert (family.name, family.type) == ("colonnade_health_state", "gauge")
    return {(sample.labels["state"], sample.labels["severity"]): sample.value for sample in family.samples}
