"""What a broker brings and is done at once: acknowledged when it is done, once, in its line's order."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.workers.bench import times
from tests.workers.counter import Counter, a_counter, sold

KEYS = ("a", "b", "c")


async def test_what_a_broker_brings_is_done_before_it_is_acknowledged(tmp_path: Path) -> None:
    """Once: what comes again is known by the chain's mark, though it was never in the inbox."""
    async with a_counter(tmp_path) as counter:
        await counter.inbox.receive([sold(1, "a"), sold(2, "b")])
        await counter.inbox.receive([sold(2, "b"), sold(1, "a"), sold(3, "a")])
        assert (await counter.done("a"), await counter.done("b")) == (["1", "3"], ["2"])
        assert not counter.was_in_the_inbox


async def test_an_old_message_waits_in_the_inbox(tmp_path: Path) -> None:
    """A backlog is the worker's, which lets requests pass; what comes behind it in its line waits there."""
    async with a_counter(tmp_path, worker=True) as counter:
        await counter.inbox.receive([sold(1, "a", seconds_ago=60), sold(2, "a"), sold(3, "b")])
        assert await counter.done("b") == ["3"]
        await counter.until_done("a", "1", "2")
        assert counter.was_in_the_inbox


async def test_what_came_early_goes_first(tmp_path: Path) -> None:
    """A message that was received before the one it follows is not overtaken when that comes."""
    async with a_counter(tmp_path, worker=True) as counter:
        await counter.inbox.receive([sold(1, "z"), sold(3, "a")])
        await counter.inbox.receive([sold(2, "b"), sold(4, "a")])
        await counter.until_done("a", "3", "4")


async def test_beside_requests_only_some_are_done_at_once(tmp_path: Path) -> None:
    """What comes while others are being done goes into the inbox, where the worker lets requests pass."""
    async with a_counter(tmp_path) as counter:
        with counter.foreground.answering():
            keys = ["a", "b", "c", "d"]
            for key in keys:
                counter.clerk.gates[key] = asyncio.Event()
            first = asyncio.ensure_future(counter.inbox.receive([sold(seq, key) for seq, key in enumerate(keys, 1)]))
            await counter.clerk.until_tried()
            await counter.inbox.receive([sold(1, "e", partition=1)])
            assert await counter.store.inbox.unhandled() == 1
            for gate in counter.clerk.gates.values():
                gate.set()
            await first
            await counter.inbox.receive([sold(2, "f", partition=1)])
        assert [await counter.done(key) for key in "abcdef"] == [["1"], ["2"], ["3"], ["4"], [], ["2"]]


async def test_instances_that_share_lines_leave_each_other_theirs(tmp_path: Path) -> None:
    """What comes from a broker is for whoever has its line."""
    own = {"all": False}
    async with a_counter(tmp_path, own=own) as counter:
        await counter.inbox.receive([sold(1, "a")])
        assert await counter.done("a") == []
        own["all"] = True
        await counter.inbox.receive([sold(2, "b")])
        assert await counter.done("b") == ["2"]


FAILING = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 3), max_size=2)


@settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(order=st.permutations(range(1, 13)), cut=st.integers(1, 5), again=st.sets(st.integers(1, 12)), failing=FAILING)
def test_each_message_is_done_once_and_in_its_line_s_order(
    order: list[int], cut: int, again: set[int], failing: dict[str, int]
) -> None:
    """However a broker disorders and doubles them, and whichever of them fail, are done at once or wait."""

    async def check() -> None:
        with TemporaryDirectory() as folder:
            produced = [sold(seq, KEYS[seq % 3]) for seq in range(1, 13)]
            said = {key: [str(seq) for seq in range(1, 13) if KEYS[seq % 3] == key] for key in KEYS}
            async with a_counter(Path(folder), worker=True, produced=produced) as counter:
                for key, count in failing.items():
                    counter.clerk.faults[key] = times(count, lambda: RuntimeError("not now"))
                await _receive_all(counter, order, cut, again)
                for key in KEYS:
                    while await counter.done(key) != said[key]:
                        counter.clock.advance(600.0)
                        await counter.worker.look_again()
                        await asyncio.sleep(0.001)

                async def all_are() -> bool:
                    return await counter.store.inbox.unhandled() == 0

                await counter.commits.until(all_are)
                assert {key: await counter.done(key) for key in KEYS} == said

    async def in_time() -> None:
        async with asyncio.timeout(20):
            await check()

    asyncio.run(in_time())


async def _receive_all(counter: Counter, order: list[int], cut: int, again: set[int]) -> None:
    coming = [seq for seq in order for _ in range(2 if seq in again else 1)]
    for start in range(0, len(coming), cut):
        await counter.inbox.receive([sold(seq, KEYS[seq % 3]) for seq in coming[start : start + cut]])
