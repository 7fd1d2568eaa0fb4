"""How long a caller lets a request take."""

__all__ = ["DEFAULT_SECONDS", "LONGEST_SECONDS", "TIMEOUT_HEADER", "seconds_given"]

TIMEOUT_HEADER = b"x-request-timeout"
DEFAULT_SECONDS = 30.0
LONGEST_SECONDS = 300.0


def seconds_given(value: bytes | None) -> float:
    """The seconds that a request may take by the `value` of its header; the default where that says nothing of use."""
    try:
        seconds = float(value) if value is not None else DEFAULT_SECONDS
    except ValueError:
        return DEFAULT_SECONDS
    return min(seconds, LONGEST_SECONDS) if seconds > 0 else DEFAULT_SECONDS
