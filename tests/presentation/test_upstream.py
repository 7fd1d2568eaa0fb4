"""Requests to other processes: over connections that are kept, to instances that come and go."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from colonnade.discovery import Address
from colonnade.presentation import upstream as module
from colonnade.presentation.balancing import Balancer
from colonnade.presentation.upstream import NotReached, Upstream, UpstreamAnswer, UpstreamFailed

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CLOSE = b""
"""What a peer plays that closes the connection."""


class Peer:
    """A server that plays answers, one a request; it closes where it has none left."""

    def __init__(self, answers: Sequence[bytes] = ()) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.address = Address("127.0.0.1", 0)
        self._writers: list[asyncio.StreamWriter] = []
        self.left = asyncio.Event()

    async def listen(self, stack: AsyncExitStack) -> None:
        """On a port of its own."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        stack.push_async_callback(self._close, server)
        self.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])

    async def hang_up(self) -> None:
        """Close every connection, and wait until the other side has heard."""
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                await self.gate.wait()
                answer = self.answers.pop(0) if self.answers else CLOSE
                if answer == CLOSE:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def _close(self, server: asyncio.Server) -> None:
        self.gate.set()
        server.close()
        for writer in self._writers:
            writer.close()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is closed at the end."""
    async with AsyncExitStack() as opened:
        yield opened


async def reached(stack: AsyncExitStack, *answers: bytes) -> tuple[Peer, Upstream]:
    """A peer, and the upstream that leads to it."""
    peer = Peer(answers)
    await peer.listen(stack)
    upstream = Upstream("peer", peer.address)
    stack.callback(upstream.close)
    return peer, upstream


async def test_a_connection_is_kept_for_the_next_request(stack: AsyncExitStack) -> None:
    """Requests after each other share one; those beside each other have one each, which are kept too."""
    peer, upstream = await reached(stack, *[OK] * 6)
    for _ in range(2):
        assert await upstream.request("GET", b"/x", ()) == UpstreamAnswer(200, [(b"content-length", b"2")], b"ok")
    assert peer.connections == 1
    for _ in range(2):
        await asyncio.gather(upstream.request("GET", b"/x", ()), upstream.request("GET", b"/x", ()))
    assert peer.connections == 2
    assert upstream.in_flight == 0


async def test_a_request_is_sent_as_it_is(stack: AsyncExitStack) -> None:
    """With its headers and its body, whose length is told; a POST without a body tells so."""
    peer, upstream = await reached(stack, OK, OK, OK)
    await upstream.request("POST", b"/x?y=%20", [(b"a", b"1")], b"body")
    await upstream.request("POST", b"/x", ())
    await upstream.request("GET", b"/x", ())
    host = b"host: %s\r\n" % str(peer.address).encode()
    assert peer.requests == [
        b"POST /x?y=%20 HTTP/1.1\r\n" + host + b"a: 1\r\ncontent-length: 4\r\n\r\nbody",
        b"POST /x HTTP/1.1\r\n" + host + b"content-length: 0\r\n\r\n",
        b"GET /x HTTP/1.1\r\n" + host + b"\r\n",
    ]


@pytest.mark.parametrize(
    ("method", "played", "status", "body", "connections"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 200, b"abc", 1),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", 1),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b"", 1),
        ("GET", b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + OK, 200, b"ok", 1),
        ("GET", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx", 200, b"x", 2),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", 200, b"", 2),
    ],
    ids=["chunked", "no content", "not modified", "after a hint", "a last one", "of a head"],
)  # fmt: skip
async def test_answers_end_where_they_say(
    stack: AsyncExitStack, method: str, played: bytes, status: int, body: bytes, connections: int
) -> None:
    """Each of the ways of HTTP/1.1, whole; and the next request gets its own answer."""
    peer, upstream = await reached(stack, played, OK)
    answer = await upstream.request(method, b"/x", ())
    assert (answer.status, answer.body) == (status, body)
    assert b"link" not in dict(answer.headers)
    assert (await upstream.request("GET", b"/x", ())).body == b"ok"
    assert peer.connections == connections


async def test_an_answer_in_pieces_is_put_together() -> None:
    """However the network cuts it."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        upstream = Upstream("drip", Address("127.0.0.1", server.sockets[0].getsockname()[1]))
        assert (await upstream.request("GET", b"/x", ())).body == b"ok"
        upstream.close()


@pytest.mark.parametrize(
    ("played", "reason"),
    [
        (CLOSE, "the connection was closed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nonly", "the connection was closed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "its answer is no HTTP"),
    ],
    ids=["nothing", "half of it", "another protocol"],
)
async def test_an_answer_that_does_not_come_is_told(stack: AsyncExitStack, played: bytes, reason: str) -> None:
    """By the name and the address of the one who did not answer."""
    peer, upstream = await reached(stack, played)
    asking = asyncio.ensure_future(upstream.request("GET", b"/x", ()))
    await peer.asked.wait()
    await peer.hang_up()
    with pytest.raises(UpstreamFailed) as failed:
        await asking
    assert not isinstance(failed.value, NotReached)
    assert str(failed.value).startswith(f"peer at {peer.address} did not answer: {reason}")
    assert upstream.in_flight == 0


async def test_more_than_was_asked_for_is_nobodys_answer(stack: AsyncExitStack) -> None:
    """A second answer behind the first changes nothing of the first, and the connection is given up."""
    peer, upstream = await reached(stack, OK + b"HTTP/1.1 500 No\r\nset-cookie: a\r\ncontent-length: 0\r\n\r\n", OK)
    assert await upstream.request("GET", b"/x", ()) == UpstreamAnswer(200, [(b"content-length", b"2")], b"ok")
    assert (await upstream.request("GET", b"/x", ())).status == 200
    assert peer.connections == 2


async def test_who_takes_no_connection_has_got_nothing(stack: AsyncExitStack) -> None:
    """So that whoever asked may ask another one."""
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    with pytest.raises(NotReached, match=f"peer at {address} did not answer"):
        await Upstream("peer", address).request("POST", b"/x", ())


async def test_a_connection_closed_meanwhile_is_not_used(stack: AsyncExitStack) -> None:
    """Not even for what may not be done twice: the end was seen before anything was sent."""
    peer, upstream = await reached(stack, OK, OK)
    await upstream.request("GET", b"/x", ())
    await peer.hang_up()
    _, other = await reached(stack, OK)
    await other.request("GET", b"/x", ())  # meanwhile the loop hears of the end
    assert (await upstream.request("POST", b"/x", (), b"1")).status == 200
    assert peer.connections == 2
    assert len(peer.requests) == 2


@pytest.mark.parametrize("repeatable", [True, False])
async def test_one_that_closes_under_a_request_is_asked_again_where_that_is_allowed(
    stack: AsyncExitStack, repeatable: bool
) -> None:
    """On a new connection; a command that may have been carried out is not sent again."""
    peer, upstream = await reached(stack, OK, CLOSE, OK)
    await upstream.request("GET", b"/x", ())
    if repeatable:
        assert (await upstream.request("POST", b"/x", (), b"1", repeatable=True)).status == 200
        assert peer.connections == 2
    else:
        with pytest.raises(UpstreamFailed):
            await upstream.request("POST", b"/x", (), b"1")
    assert len(peer.requests) == 3 if repeatable else 2


async def test_a_new_connection_that_is_closed_is_not_tried_for_ever(stack: AsyncExitStack) -> None:
    """Only what had been kept may have been closed out of habit."""
    peer, upstream = await reached(stack)
    with pytest.raises(UpstreamFailed):
        await upstream.request("GET", b"/x", (), repeatable=True)
    assert len(peer.requests) == 1


async def test_a_connection_left_alone_for_long_is_given_up(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server might close it just when a command is on its way."""
    peer, upstream = await reached(stack, OK, OK)
    await upstream.request("GET", b"/x", ())
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    await upstream.request("POST", b"/x", (), b"1")
    await peer.left.wait()
    assert peer.connections == 2


async def test_a_cancelled_request_takes_its_connection_along(stack: AsyncExitStack) -> None:
    """Its answer, when it comes after all, is not the next one's."""
    late = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate"
    peer, upstream = await reached(stack, late, OK)
    peer.gate.clear()
    asking = asyncio.ensure_future(upstream.request("GET", b"/x", ()))
    await peer.asked.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert upstream.in_flight == 0
    peer.gate.set()
    await peer.left.wait()
    assert (await upstream.request("GET", b"/x", ())).body == b"ok"
    assert peer.connections == 2


async def test_no_more_connections_are_kept_than_are_of_use(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those beyond are closed after a burst."""
    monkeypatch.setattr(module, "IDLE_CONNECTIONS", 2)
    peer, upstream = await reached(stack, *[OK] * 8)
    peer.gate.clear()
    burst = [asyncio.ensure_future(upstream.request("GET", b"/x", ())) for _ in range(4)]
    while len(peer.requests) < 4:
        peer.asked.clear()
        await peer.asked.wait()
    assert upstream.in_flight == 4
    peer.gate.set()
    await asyncio.gather(*burst)
    await asyncio.gather(*(upstream.request("GET", b"/x", ()) for _ in range(2)))
    assert peer.connections == 4
    await peer.left.wait()


class Table:
    """A registry that the test writes."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses: Sequence[Address] = addresses

    def instances(self, service: str) -> Sequence[Address]:
        """Of the one service."""
        return self.addresses if service == "peer" else ()


async def peers(stack: AsyncExitStack, count: int) -> Sequence[Peer]:
    """So many, each with answers enough."""
    made = [Peer([OK] * 20) for _ in range(count)]
    for peer in made:
        await peer.listen(stack)
    return made


async def test_instances_that_come_and_go_are_followed(stack: AsyncExitStack) -> None:
    """A new one has its turns at once; one that went gets nothing more and its connections are closed."""
    first, second, third = await peers(stack, 3)
    table = Table(first.address, second.address)
    balancer = Balancer(table)
    stack.callback(balancer.close)
    for _ in range(4):
        await balancer.request("peer", "GET", b"/x", ())
    assert (len(first.requests), len(second.requests)) == (2, 2)
    table.addresses = (second.address, third.address)
    for _ in range(4):
        await balancer.request("peer", "GET", b"/x", ())
    await first.left.wait()
    assert [len(peer.requests) for peer in (first, second, third)] == [2, 4, 2]
    table.addresses = ()
    with pytest.raises(NotReached, match="peer did not answer: no instance of it is running"):
        await balancer.request("peer", "GET", b"/x", ())
    with pytest.raises(NotReached, match="cinema did not answer: no instance of it is running"):
        await balancer.request("cinema", "GET", b"/x", ())


async def test_when_all_fail_the_last_failure_is_told(stack: AsyncExitStack) -> None:
    """Each was asked once."""
    first, second = await peers(stack, 2)
    first.answers, second.answers = [CLOSE], [CLOSE]
    balancer = Balancer(Table(first.address, second.address))
    stack.callback(balancer.close)
    with pytest.raises(UpstreamFailed, match=f"peer at {second.address}"):
        await balancer.request("peer", "GET", b"/x", (), repeatable=True)
    assert (len(first.requests), len(second.requests)) == (1, 1)
