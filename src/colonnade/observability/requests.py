"""One log line for each HTTP request."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from colonnade.observability.logs import get_logger
from colonnade.world import Clock

__all__ = ["TENANT", "RequestLog"]

TENANT = "colonnade.tenant"
"""Under this name of a request's scope stands whose it is, once that is known."""

_CORRELATION_HEADER = b"x-correlation-id"

_ROUTINE = ("/health/", "/-/ends/", "/-/histories/")
"""What is asked every few seconds whatever happens: probes, and processes of one system of each other."""

_log = get_logger()


class RequestLog:
    """Hands requests to an application and tells how each ended; routine only at the level of debugging.

    The query string is left out: it may hold personal data.
    """

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        start: Message | None = None

        async def send_on(message: Message) -> None:
            nonlocal start
            if start is None:
                start = message
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        finally:
            self._tell(scope, start, self._clock.monotonic() - started)

    def _tell(self, scope: Scope, start: Message | None, seconds: float) -> None:
        fields = {"method": scope["method"], "path": scope["path"], "milliseconds": round(seconds * 1_000, 2)}
        if TENANT in scope:
            fields["tenant"] = scope[TENANT]
        if start is None:
            _log.warning("request not answered", **fields)
            return
        fields["status"] = start["status"]
        for name, value in start["headers"]:
            if name == _CORRELATION_HEADER:
                fields["correlation_id"] = value.decode("latin-1")
                break
        if start["status"] >= 500:
            _log.warning("request", **fields)
        elif any(each in scope["path"] for each in _ROUTINE):
            _log.debug("request", **fields)
        else:
            _log.info("request", **fields)
