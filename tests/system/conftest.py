"""What the tests of the system's room share."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """The log lines of the test; structlog's default would draw each traceback with its variables, in seconds."""
    with capture_logs() as lines:
        yield lines
