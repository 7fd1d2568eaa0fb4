"""The tenants of a system: who shares its processes, and neither sees the others nor takes their part."""

import re
from collections.abc import Sequence

import msgspec

__all__ = ["MOST_TENANTS", "TENANT_HEADER", "InvalidTenant", "Tenant", "is_tenant_name", "read_tenants"]

TENANT_HEADER = b"colonnade-tenant"

MOST_TENANTS = 50
"""Each has a schema of its own and work of its own in every process; what more of them cost has not been measured."""

MOST_REQUESTS = 10_000
"""The most requests per second that a quota may count one by one."""

LONGEST_NAME = 32

# A part of file names, schemas, topics and keys: a hyphen or dot could make one of two of their parts
_NAME = re.compile(f"[a-z][a-z0-9_]{{0,{LONGEST_NAME - 1}}}")
_QUOTAS = {"requests": MOST_REQUESTS, "events": (1 << 63) - 1}


class InvalidTenant(ValueError):
    """A tenant that cannot be, or too many of them."""

    def __init__(self, given: str, reason: str, remedy: str) -> None:
        super().__init__(given, reason, remedy)
        self.given, self.reason, self.remedy = given, reason, remedy

    def __str__(self) -> str:
        return f"{self.given}: {self.reason}; {self.remedy}."


class Tenant(msgspec.Struct, frozen=True):
    """One who has the system as if it were his alone, within his quotas; without one there is no bound.

    `requests` may come in a second, to one gateway; a service takes no more commands once it has stored `events`.
    """

    name: str
    requests: int | None = None
    events: int | None = None

    @property
    def schema(self) -> str:
        """Where its tables are in the database of a service."""
        return f"tenant_{self.name}"


def is_tenant_name(text: str) -> bool:
    """Whether a tenant may be called `text`."""
    return _NAME.fullmatch(text) is not None


def read_tenants(given: Sequence[str]) -> Sequence[Tenant]:
    """The tenants of `given`, each as `acme` or `acme:requests=50,events=1000000`; raises `InvalidTenant`."""
    tenants = [_read(each) for each in given]
    if len(tenants) > MOST_TENANTS:
        raise InvalidTenant(
            f"{len(tenants)} tenants",
            f"there are up to {MOST_TENANTS} tenants by schema",
            "beyond that take a database per tenant, sized first: start another system for them",
        )
    names = [tenant.name for tenant in tenants]
    for name in names:
        if names.count(name) > 1:
            raise InvalidTenant(name, "is named twice", "name each tenant once, with all of its quotas")
    return tenants


def _read(given: str) -> Tenant:
    name, colon, quotas = given.partition(":")
    if not is_tenant_name(name):
        raise InvalidTenant(
            repr(name),
            "is no name of a tenant",
            f"take up to {LONGEST_NAME} lower-case letters, digits and underscores, a letter first",
        )
    read: dict[str, int] = {}
    for quota in quotas.split(",") if colon else ():
        kind, _, number = quota.partition("=")
        if kind not in _QUOTAS or kind in read:
            raise InvalidTenant(
                given, f"{kind!r} is no quota, or there twice", "write it as acme:requests=50,events=1000000"
            )
        if not number.isascii() or not number.isdecimal() or not 1 <= int(number) <= _QUOTAS[kind]:
            raise InvalidTenant(given, f"{number!r} is no number of {kind}", f"give one from 1 to {_QUOTAS[kind]}")
        read[kind] = int(number)
    return Tenant(name, **read)
