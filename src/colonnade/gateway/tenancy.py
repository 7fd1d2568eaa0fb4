"""The door of a system that has tenants: each request goes to that of the tenant whom it names, and to no other."""

import math
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from colonnade.gateway.embedded import send_problem
from colonnade.gateway.probes import is_about_health
from colonnade.gateway.refusals import REQUESTS_IN_FLIGHT, busy
from colonnade.observability.requests import TENANT
from colonnade.presentation.problems import Problem
from colonnade.security.rates import RateWindow
from colonnade.security.tenants import TENANT_HEADER, is_tenant_name

__all__ = ["TenantDoor"]

MOST_OF_ONE = REQUESTS_IN_FLIGHT // 2
"""There is always room for the others' requests, however slow those of one are."""

_MISSING = "Say whose request this is: the header Colonnade-Tenant names the tenant, once."
_MALFORMED = "What Colonnade-Tenant says is no name of a tenant; name one as it was given out."


class TenantDoor:
    """Hands each request to the one of `apps` that is its tenant's, within the rate that it may come at.

    Of one tenant no more than `most` are worked on at a time. What belongs to nobody in particular, the health of all
    and its metrics, is `common`'s.
    """

    def __init__(
        self,
        apps: Mapping[str, ASGIApp],
        common: ASGIApp,
        rates: Mapping[str, RateWindow],
        most: int = MOST_OF_ONE,
    ) -> None:
        self._apps = apps
        self._common = common
        self._rates = rates
        self._most = most
        self._at_work = dict.fromkeys(apps, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or is_about_health(scope["path"]):
            await self._common(scope, receive, send)
            return
        try:
            tenant = self._named(scope)
            scope[TENANT] = tenant
            self._let_in(tenant)
        except Problem as problem:
            await send_problem(send, problem)
            return
        self._at_work[tenant] += 1
        try:
            await self._apps[tenant](scope, receive, send)
        finally:
            self._at_work[tenant] -= 1

    def _named(self, scope: Scope) -> str:
        given = [value for name, value in scope["headers"] if name == TENANT_HEADER]
        if len(given) != 1:
            raise Problem(400, "colonnade.TenantMissing", _MISSING)
        name: str = given[0].decode("latin-1")
        if not is_tenant_name(name):
            raise Problem(400, "colonnade.MalformedTenant", _MALFORMED)
        if name not in self._apps:
            raise Problem(404, "colonnade.UnknownTenant", f"There is no tenant {name} here.")
        return name

    def _let_in(self, tenant: str) -> None:
        if self._at_work[tenant] >= self._most:
            raise busy(self._most, tenant)
        rate = self._rates.get(tenant)
        wait = rate.enter() if rate is not None else None
        if rate is not None and wait is not None:
            raise Problem(
                429,
                "colonnade.TooManyRequests",
                f"{rate.limit} requests of {tenant} came within a second, and more are not in its quota; come again "
                "when the time of Retry-After is over.",
                headers=((b"retry-after", str(math.ceil(wait)).encode()),),
            )
