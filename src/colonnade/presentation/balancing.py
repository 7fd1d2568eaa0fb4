"""Requests to a service, spread over its instances."""

from collections.abc import Sequence

from colonnade.discovery import Address, Registry
from colonnade.presentation.upstream import Headers, NotReached, Upstream, UpstreamAnswer, UpstreamFailed

__all__ = ["Balancer"]


class Balancer:
    """Takes the instance with the fewest requests in flight, of those the one that has waited longest for its turn.

    An instance that cannot be reached is passed over for this request.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._upstreams: dict[str, list[Upstream]] = {}
        self._told: dict[str, Sequence[Address]] = {}

    async def request(
        self,
        service: str,
        method: str,
        target: bytes,
        headers: Headers,
        body: bytes = b"",
        *,
        repeatable: bool = False,
    ) -> UpstreamAnswer:
        """Send a request to an instance of `service`, and to another one where that may be done twice.

        Raises `NotReached` when there is none, `UpstreamFailed`.
        """
        upstreams = self._known(service)
        failure: UpstreamFailed | None = None
        tried: set[Address] = set()
        while left := [upstream for upstream in upstreams if upstream.address not in tried]:
            upstream = min(left, key=lambda each: each.in_flight)
            upstreams.remove(upstream)
            upstreams.append(upstream)
            tried.add(upstream.address)
            try:
                return await upstream.request(method, target, headers, body, repeatable=repeatable)
            except UpstreamFailed as error:
                if not repeatable and not isinstance(error, NotReached):
                    raise
                failure = error
        raise failure or NotReached(service, "no instance of it is running")

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for upstreams in self._upstreams.values():
            for upstream in upstreams:
                upstream.close()

    def _known(self, service: str) -> list[Upstream]:
        addresses: Sequence[Address] = self._registry.instances(service)
        known = self._upstreams.setdefault(service, [])
        if addresses is not self._told.get(service):
            self._told[service] = addresses
            for gone in [each for each in known if each.address not in addresses]:
                known.remove(gone)
                gone.close()
            there = {each.address for each in known}
            known += [Upstream(service, address) for address in addresses if address not in there]
        return known
