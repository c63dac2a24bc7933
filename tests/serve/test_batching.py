"""The batcher over a worker that answers at once, fails or waits as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from tests.fakes import fake_reward
from vlreward import Group, Reward
from vlreward.data.content import text_of
from vlreward.errors import ConfigError, EngineError, MediaError, ScoreError
from vlreward.serve import batching
from vlreward.serve.batching import Batcher, BatchLimits
from vlreward.serve.metrics import Metrics
from vlreward.serve.refusals import Refusal
from vlreward.serve.worker import NotSent, WorkerDied
from vlreward.serve.worker_process import Scored, Unforeseen


class FakeWorker:
    """A worker in this process."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.fail: Callable[[list[str]], Exception | None] = lambda texts: None
        self.open = asyncio.Event()
        self.open.set()
        self.is_ready = asyncio.Event()
        self.is_ready.set()
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.restarts = 0
        self.calibration = None
        self.settings: dict[str, Any] = {}

    @property
    def ready(self) -> bool:
        return self.is_ready.is_set()

    def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def wait_ready(self) -> None:
        await self.is_ready.wait()

    async def score(self, groups: Sequence[Group]) -> Scored:
        texts = [text_of(group.messages) for group in groups]
        assert all(group.id is None for group in groups)
        self.calls.append(texts)
        await self.open.wait()
        if error := self.fail(texts):
            raise error
        rewards = [Reward(rewards=tuple(fake_reward(g, i) for i in range(len(g)))) for g in groups]
        return Scored(number=0, rewards=rewards, counts={})


Test = Callable[[Batcher, FakeWorker], Coroutine[Any, Any, None]]


def run(test: Test, **limits: Any) -> None:
    async def inside() -> None:
        worker = FakeWorker()
        batcher = Batcher(worker, model="m", limits=BatchLimits(**limits), metrics=Metrics())  # type: ignore[arg-type]
        batcher.start()
        try:
            async with asyncio.timeout(20):
                await test(batcher, worker)
        finally:
            await batcher.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    asyncio.run(inside())


def group(text: str, answers: int = 2, **more: Any) -> Group:
    return Group(text, [f"answer {i}" for i in range(answers)], **more)


def expected(groups: Sequence[Group]) -> list[Reward]:
    return [Reward(id=g.id, rewards=tuple(fake_reward(g, i) for i in range(len(g)))) for g in groups]


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_rewards_come_back_with_the_clients_own_ids() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        groups = [group("Q", id="x"), group("R", 1), group("Q", 3, id="x")]
        assert await batcher.score(groups, client="a") == expected(groups)
        assert await batcher.score([], client="a") == []

    run(test)


def test_requests_gather_while_the_worker_computes() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.open.clear()
        first = asyncio.ensure_future(batcher.score([group("first")], client="a"))
        await until(lambda: len(worker.calls) == 1)
        others = [asyncio.ensure_future(batcher.score([group(f"Q{i % 2}", i)], client="a")) for i in range(1, 6)]
        await until(lambda: len(batcher._waiting) == 5)
        worker.open.set()
        await asyncio.gather(first, *others)
        assert worker.calls == [["first"], ["Q1", "Q1", "Q1", "Q0", "Q0"]]

    run(test, max_wait_seconds=0.0)


def test_an_idle_worker_lets_requests_gather_for_a_moment() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        async def later(i: int) -> None:
            await asyncio.sleep(0.02 * i)
            await batcher.score([group(f"Q{i}")], client="a")

        await asyncio.gather(*map(later, range(4)))
        assert worker.calls == [["Q0", "Q1", "Q2", "Q3"]]

    run(test, max_wait_seconds=0.5, batch_tokens=100_000)


def test_a_full_batch_does_not_wait() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        await asyncio.gather(*[batcher.score([group(f"Q{i}")], client="a") for i in range(3)])
        assert len(worker.calls) == 3

    run(test, max_wait_seconds=1000.0, batch_tokens=1)


def test_one_poisonous_request_fails_alone() -> None:
    def fail(texts: list[str]) -> Exception | None:
        # As engines that name the group, those that do not, and one that nobody foresaw.
        for i, text in enumerate(texts):
            if text == "named":
                return MediaError(f"groups[{i}]: responses[1]: image: 3 bytes: not a picture")
            if text == "unnamed":
                return ScoreError("the reward is nan")
            if text == "unforeseen":
                return Unforeseen("the engine failed: RuntimeError")
        return None

    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.fail = fail
        worker.open.clear()
        hold = asyncio.ensure_future(batcher.score([group("hold")], client="a"))
        await until(lambda: len(worker.calls) == 1)
        asked = [[group(f"Q{i}"), group(f"R{i}")] for i in range(10)]
        asked[3][1] = group("named", id="mine")
        asked[5][0] = group("unnamed")
        asked[8][1] = group("unforeseen")
        calls = [asyncio.ensure_future(batcher.score(groups, client=f"c{i % 3}")) for i, groups in enumerate(asked)]
        await until(lambda: len(batcher._waiting) == 20)
        worker.open.set()
        answers = await asyncio.gather(hold, *calls, return_exceptions=True)
        refusals = {i: answer for i, answer in enumerate(answers[1:]) if isinstance(answer, Exception)}
        assert set(refusals) == {3, 5, 8}
        said = {
            i: (error.code, error.message, error.where) for i, error in refusals.items() if isinstance(error, Refusal)
        }
        assert said == {
            3: ("bad_request", "image: 3 bytes: not a picture", "groups[1].responses[1]"),
            5: ("unscorable", "the reward is nan", "groups[0]"),
            8: ("internal", "the model failed on this group; the server's log has the reason", "groups[1]"),
        }
        for i, groups in enumerate(asked):
            if i not in refusals:
                assert answers[i + 1] == expected(groups)

    run(test)


def test_an_engine_error_never_shows_its_text() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.fail = lambda texts: EngineError("/secret/model: gone")
        with pytest.raises(Refusal) as caught:
            await batcher.score([group("Q")], client="a")
        assert (caught.value.code, "secret" in caught.value.message) == ("unavailable", False)

    run(test)


def test_the_end_of_the_worker_reaches_those_in_flight_and_nobody_else() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        def die(texts: list[str]) -> Exception | None:
            worker.fail = lambda texts: None
            worker.is_ready.clear()
            return WorkerDied()

        worker.fail = die
        worker.open.clear()
        in_flight = asyncio.ensure_future(batcher.score([group("first")], client="a"))
        await until(lambda: len(worker.calls) == 1)
        waits = asyncio.ensure_future(batcher.score([group("second")], client="a"))
        worker.open.set()
        with pytest.raises(Refusal) as caught:
            await in_flight
        assert (caught.value.code, caught.value.headers) == ("unavailable", {"Retry-After": "1"})
        await asyncio.sleep(0.02)
        assert not waits.done()
        worker.is_ready.set()
        assert await waits == expected([group("second")])

    run(test)


def test_what_ends_the_worker_is_found_and_not_tried_for_ever() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.fail = lambda texts: WorkerDied() if "deadly" in texts else None
        worker.open.clear()
        hold = asyncio.ensure_future(batcher.score([group("hold")], client="a"))
        await until(lambda: len(worker.calls) == 1)
        texts = ["deadly", "one", "two"]
        calls = [asyncio.ensure_future(batcher.score([group(text)], client="a")) for text in texts]
        await until(lambda: len(batcher._waiting) == 3)
        worker.open.set()
        answers = await asyncio.gather(hold, *calls, return_exceptions=True)
        assert [getattr(answer, "code", "rewards") for answer in answers] == ["rewards", *["unavailable"] * 3]
        # All are asked again, as told; from now on each alone.
        codes = []
        for _ in range(4):
            answers = await asyncio.gather(
                *(batcher.score([group(text)], client="a") for text in texts), return_exceptions=True
            )
            assert [isinstance(answer, list) for answer in answers] == [False, True, True]
            codes.append(getattr(answers[0], "code", None))
        assert codes == ["unavailable", "unavailable", "unscorable", "unscorable"]
        assert sum("deadly" in call for call in worker.calls) == 4
        assert all(call == ["deadly"] for call in worker.calls[2:] if "deadly" in call)

    run(test)


def test_a_good_response_says_nothing_of_a_bad_one_to_the_same_prompt() -> None:
    good, bad = Group("Q", ["fine"]), Group("Q", ["deadly"])

    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        score = worker.score

        async def deadly(groups: Sequence[Group]) -> Scored:
            if any(text_of(response) == "deadly" for group in groups for response in group.responses):
                raise WorkerDied
            return await score(groups)

        worker.score = deadly  # type: ignore[method-assign]
        codes = []
        for _ in range(4):
            with pytest.raises(Refusal) as caught:
                await batcher.score([bad], client="a")
            codes.append(caught.value.code)
            assert await batcher.score([good], client="a") == expected([good])
        assert codes == ["unavailable", "unavailable", "unscorable", "unscorable"]

    run(test)


def test_a_batch_that_was_not_sent_is_sent_to_the_next_process() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        def away(texts: list[str]) -> Exception | None:
            if len(worker.calls) > 5:
                return None
            return NotSent()

        worker.fail = away
        assert await batcher.score([group("Q")], client="a") == expected([group("Q")])
        assert worker.calls == [["Q"]] * 6
        assert not batcher._suspects._deaths

    run(test)


def test_those_who_wait_are_told_that_the_model_cannot_be_loaded() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.is_ready.clear()
        calls = [asyncio.ensure_future(batcher.score([group(f"Q{i}")], client="a")) for i in range(3)]
        await until(lambda: len(batcher._waiting) == 3)
        worker.failure = EngineError("/secret")
        worker.on_failure()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(answer) for answer in answers] == ["the model cannot be loaded"] * 3
        worker.failure = None
        worker.is_ready.set()
        assert await batcher.score([group("Q")], client="a") == expected([group("Q")])

    run(test)


def test_the_rest_of_a_batch_that_has_ended_the_process_is_told_too() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        def fail(texts: list[str]) -> Exception | None:
            if len(texts) > 1:
                return EngineError("too much")
            worker.is_ready.clear()
            return WorkerDied()

        worker.fail = fail
        calls = [asyncio.ensure_future(batcher.score([group(f"Q{i}")], client="a")) for i in range(2)]
        await until(lambda: len(worker.calls) == 2)
        assert not all(call.done() for call in calls)
        worker.on_failure()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {getattr(answer, "code", None) for answer in answers} == {"unavailable"}

    run(test, max_wait_seconds=0.05)


@pytest.mark.parametrize("step", ["wait_ready", "take"])
def test_a_mistake_before_a_batch_is_told_and_the_next_one_served(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mistakes: list[int] = []

    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        owner = batcher._waiting if step == "take" else worker
        original = getattr(owner, step)

        def broken(*arguments: Any) -> Any:
            if not len(batcher._waiting):
                return original(*arguments)
            mistakes.append(1)
            monkeypatch.undo()
            raise RuntimeError("a mistake of ours")

        monkeypatch.setattr(batching, "_PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(owner, step, broken)
        with pytest.raises(RuntimeError, match="mistake"):
            await batcher.score([group("Q")], client="a")
        assert (len(mistakes), len(batcher._waiting)) == (1, 0)
        assert await batcher.score([group("R")], client="a") == expected([group("R")])

    run(test)


def test_a_full_queue_says_when_to_come_again() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        await batcher.score([group("to know how long one takes")], client="a")
        worker.open.clear()
        calls = [asyncio.ensure_future(batcher.score([group("in flight")], client="a"))]
        await until(lambda: len(worker.calls) == 2)
        calls += [asyncio.ensure_future(batcher.score([group(f"Q{i}")], client="a")) for i in range(4)]
        await until(lambda: len(batcher._waiting) == 4)
        with pytest.raises(Refusal) as caught:
            await batcher.score([group("one more")], client="b")
        assert caught.value.code == "busy"
        assert int(caught.value.headers["Retry-After"]) >= 1
        with pytest.raises(Refusal) as caught:
            await batcher.score([group("Q")] * 5, client="b")
        assert caught.value.code == "too_large"
        worker.open.set()
        await asyncio.gather(*calls)

    run(test, max_queue=4, batch_tokens=1)


def test_the_queue_is_bounded_in_bytes() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        with pytest.raises(Refusal, match="bytes"):
            await batcher.score([group("x" * 3000)], client="a")

    run(test, max_queue_bytes=2000)


def test_a_request_whose_time_is_over_leaves_the_queue() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.open.clear()
        first = asyncio.ensure_future(batcher.score([group("first")], client="a"))
        await until(lambda: len(worker.calls) == 1)
        with pytest.raises(Refusal) as caught:
            await batcher.score([group("second")], client="a", seconds=0.02)
        assert caught.value.code == "too_late"
        assert len(batcher._waiting) == 0
        worker.open.set()
        await first
        assert worker.calls == [["first"]]

    run(test)


def test_a_client_cannot_ask_for_more_time_than_there_is() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.open.clear()
        with pytest.raises(Refusal, match="within the time"):
            await batcher.score([group("Q")], client="a", seconds=1000.0)

    run(test, deadline_seconds=0.05)


def test_a_cancelled_request_leaves_the_queue() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.open.clear()
        first = asyncio.ensure_future(batcher.score([group("first")], client="a"))
        await until(lambda: len(worker.calls) == 1)
        second = asyncio.ensure_future(batcher.score([group("second")], client="a"))
        await until(lambda: len(batcher._waiting) == 1)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert len(batcher._waiting) == 0
        worker.open.set()
        # The batch in flight ends for nobody, and the next one is served.
        assert await batcher.score([group("third")], client="a") == expected([group("third")])
        assert worker.calls == [["first"], ["third"]]

    run(test)


def test_a_server_that_ends_tells_everybody() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.open.clear()
        calls = [asyncio.ensure_future(batcher.score([group(f"Q{i}")], client="a")) for i in range(3)]
        await until(lambda: len(worker.calls) == 1)
        batcher.draining = True
        with pytest.raises(Refusal, match="about to end"):
            await batcher.score([group("new")], client="a")
        await batcher.close()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {getattr(answer, "code", None) for answer in answers} == {"unavailable"}

    run(test, batch_tokens=1)


def test_a_model_that_cannot_be_loaded_is_said_at_once() -> None:
    async def test(batcher: Batcher, worker: FakeWorker) -> None:
        worker.failure = EngineError("/secret")
        with pytest.raises(Refusal, match="cannot be loaded"):
            await batcher.score([group("new")], client="a")

    run(test)


@pytest.mark.parametrize("limit", [{"max_queue": 0}, {"batch_tokens": -1}, {"deadline_seconds": 0.0}])
def test_limits_are_positive(limit: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(limit))} must be positive"):
        BatchLimits(**limit)
