"""The bodies of requests: read whole, up to a limit."""

from starlette.types import Receive

from colonnade.presentation.problems import Problem

__all__ = ["BODY_LIMIT_BYTES", "read_body", "too_large"]

BODY_LIMIT_BYTES = 1024 * 1024


async def read_body(receive: Receive) -> bytes:
    """The whole body; raises a `Problem` for one that is too large, or whose client went away."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "colonnade.Disconnected", "The client went away before the body was there.")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > BODY_LIMIT_BYTES:
            raise too_large()
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large() -> Problem:
    """What is said of a body beyond the limit."""
    return Problem(
        413,
        "colonnade.BodyTooLarge",
        f"The body has more than {BODY_LIMIT_BYTES} bytes; send less at a time.",
        fields={"limit_bytes": BODY_LIMIT_BYTES},
        headers=((b"connection", b"close"),),
    )
