"""Which waiting groups go together, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlreward import Group
from vlreward.serve.footprint import Footprint, PixelRange, footprints, together
from vlreward.serve.refusals import Refusal
from vlreward.serve.waiting import Call, Job, Waiting

from .pictures import png


def footprint(*keys: int, prompt: int = 100, answers: int = 10) -> Footprint:
    return Footprint(digest=0, pieces=tuple((key, prompt) for key in keys), answers=answers, bytes=7)


async def _jobs(entries: Sequence[tuple[str, Footprint]]) -> list[Job]:
    return [
        Call([Group(str(i), ["A"])], [found], client, float(i)).jobs[0] for i, (client, found) in enumerate(entries)
    ]


def waiting(*entries: tuple[str, Footprint]) -> tuple[Waiting, list[Job]]:
    jobs = asyncio.run(_jobs(entries))
    queue = Waiting()
    for job in jobs:
        queue.add(job)
    return queue, jobs


def names(batch: Sequence[Job]) -> list[int]:
    return [int(str(job.group.messages[0].content)) for job in batch]


def test_those_that_share_a_prompt_go_together() -> None:
    queue, _ = waiting(*[("a", footprint(i % 3)) for i in range(9)])
    # A prompt and three answers are 130 tokens.
    assert [names(queue.take(130)) for _ in range(3)] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert (len(queue), queue.tokens, queue.bytes, queue.oldest) == (0, 0, 0, None)


def test_those_that_share_a_picture_follow() -> None:
    queue, _ = waiting(("a", footprint(1, 9)), ("a", footprint(2)), ("a", footprint(3, 9)), ("a", footprint(1, 9)))
    assert names(queue.take(10_000)) == [0, 3, 2, 1]


def test_clients_take_turns() -> None:
    queue, _ = waiting(*[("busy", footprint(i)) for i in range(6)], ("other", footprint(50)), ("third", footprint(60)))
    assert [names(queue.take(110)) for _ in range(5)] == [[0], [6], [7], [1], [2]]


def test_whoever_shares_with_the_one_whose_turn_it_is_comes_along() -> None:
    queue, _ = waiting(("a", footprint(1)), ("a", footprint(2)), ("b", footprint(1)))
    assert names(queue.take(120)) == [0, 2]


def test_a_job_over_the_budget_goes_alone() -> None:
    queue, _ = waiting(("a", footprint(1, prompt=9_000)), ("a", footprint(2)))
    assert [names(queue.take(100)) for _ in range(2)] == [[0], [1]]


def test_one_that_has_left_is_not_taken() -> None:
    queue, jobs = waiting(("a", footprint(1)), ("a", footprint(1)), ("b", footprint(1)))
    queue.remove(jobs[0])
    queue.remove(jobs[0])
    assert queue.oldest is jobs[1]
    assert names(queue.take(1000)) == [1, 2]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.builds(
                footprint,
                st.integers(0, 4),
                st.integers(5, 7),
                prompt=st.integers(1, 50),
                answers=st.integers(1, 20),
            ),
        ),
        max_size=25,
    ),
    st.integers(1, 200),
)
def test_every_job_is_taken_once_and_batches_keep_to_the_budget(
    entries: list[tuple[str, Footprint]], budget: int
) -> None:
    queue, jobs = waiting(*entries)
    assert queue.tokens == sum(found.tokens for _, found in entries)
    taken: list[Job] = []
    while batch := queue.take(budget):
        assert len(batch) == 1 or together([job.footprint for job in batch]) <= budget
        taken += batch
    assert sorted(names(taken)) == list(range(len(jobs)))
    assert (len(queue), queue.tokens, queue.bytes) == (0, 0, 0)
    assert not queue._clients
    assert not queue._sharers


def test_footprints_know_prompts_and_pictures_by_their_content() -> None:
    red, blue = png((56, 56), "red"), png((56, 56), "blue")

    def group(picture: bytes, text: str, *answers: str) -> Group:
        parts = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
        return Group([{"role": "user", "content": parts}], answers)

    groups = [group(red, "Q", "A"), group(bytes(red), "Q", "B", "C"), group(blue, "Q", "A"), group(red, "R", "A")]
    one, same, other_picture, other_text = footprints(groups, PixelRange(low=784, high=784_000))
    assert one.keys == same.keys
    assert one.keys[0] not in (*other_picture.keys, *other_text.keys)
    assert (one.keys[1] == other_text.keys[1], one.keys[1] == other_picture.keys[1]) == (True, False)
    assert one.pieces[1][1] == 4
    assert together([one, same]) == one.tokens + same.answers
    assert one.bytes > len(red)


def test_footprints_refuse_what_nobody_has_admitted() -> None:
    for source in ("/etc/passwd", None, "https://example.com/a.png"):
        parts = [{"type": "image", "image": source}]
        for group in (Group([{"role": "user", "content": parts}], ["A"]), Group("Q", [parts])):
            with pytest.raises(Refusal, match="was not admitted"):
                footprints([group], PixelRange())


def test_footprints_refuse_half_a_character() -> None:
    with pytest.raises(Refusal, match="surrogate") as caught:
        footprints([Group("Q", ["A"]), Group("\ud800", ["A"])], PixelRange())
    assert caught.value.where == "groups[1]"
