"""The domain: aggregates and refusals; all that business code needs to know of Colonnade."""

from colonnade.domain.aggregate import Aggregate
from colonnade.domain.refusals import Conflict, Forbidden, Invalid, NotFound, Refusal

__all__ = ["Aggregate", "Conflict", "Forbidden", "Invalid", "NotFound", "Refusal"]
