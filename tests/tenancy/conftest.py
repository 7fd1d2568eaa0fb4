"""The street, on the engines of one process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.tenancy.houses import Street, street


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Street]:
    """Two tenants who have said nothing yet."""
    async with street(tmp_path) as both:
        yield both
