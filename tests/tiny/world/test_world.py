"""Items by number: the same every time, complete, and of every family."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from vlreward.errors import ConfigError
from vlreward.tiny.world import FAMILIES, FAULTS, SPLITS, Item, World
from vlreward.tiny.world.combinations import Split
from vlreward.tiny.world.families import text_only
from vlreward.tiny.world.item import GREY
from vlreward.types import Image, Message, Text, Video

TASKS = {
    "captioning", "visual question answering", "reasoning", "text", "robotics", "image editing", "accessibility",
    "education",
}  # fmt: skip


def digest(items: list[Item], pixels: bool = True) -> str:
    """A hash of all that items hold."""
    found = hashlib.sha256()

    def add(messages: tuple[Message, ...]) -> None:
        for message in messages:
            found.update(message.role.encode())
            for part in message.parts:
                if isinstance(part, Text):
                    found.update(part.text.encode())
                elif pixels and isinstance(part, Image):
                    found.update(part.source.tobytes())
                elif pixels and isinstance(part, Video):
                    for frame in part.source:
                        found.update(frame.tobytes())

    for item in items:
        found.update(repr((item.id, item.family, item.task, item.key, item.scenes, item.answer_scenes)).encode())
        for messages in (item.messages, item.right, item.lesson, *(wrong.response for wrong in item.wrong)):
            add(messages)
        found.update(repr([wrong.fault for wrong in item.wrong]).encode())
    return found.hexdigest()


def sample(split: Split = "train", seed: int = 3) -> list[Item]:
    return list(World(seed, split).items(33))


def pictures(messages: tuple[Message, ...]) -> list[np.ndarray]:
    found = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, Image):
                found.append(np.asarray(part.source))
            elif isinstance(part, Video):
                found += map(np.asarray, part.source)
    return found


def test_same_numbers_give_the_same_items_here_and_in_another_process() -> None:
    here = digest(sample())
    assert here == digest(sample())
    assert here != digest(sample(seed=4))
    assert here != digest(sample("heldout"))
    code = "from tests.tiny.world.test_world import digest, sample; print(digest(sample()))"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
        assert done.stdout.strip() == here


WORLD_DIGEST = "4645ee7ba4bb100779e06f340f42d00160646dd319090791b90fc63de5d79621"


def test_the_world_is_the_one_that_models_were_trained_on() -> None:
    """Another digest is another world: models have to be trained again, and their figures made again.

    Words and scenes only, which are the same on every machine; edges of letters may differ between builds of Pillow.
    """
    assert digest([*sample(), *sample("heldout")], pixels=False) == WORLD_DIGEST


def test_an_item_depends_on_its_number_alone() -> None:
    world = World(seed=9)
    forwards = [digest([world.item(index)]) for index in range(12)]
    backwards = [digest([world.item(index)]) for index in reversed(range(12))]
    assert forwards == backwards[::-1]
    assert forwards == [digest([item]) for item in islice(world, 12)]
    assert forwards[5:8] == [digest([item]) for item in world.items(3, start=5)]
    assert len(set(forwards)) == 12


@pytest.mark.parametrize("split", SPLITS)
def test_every_family_comes_equally_often(split: Split) -> None:
    items = list(World(1, split).items(3 * len(FAMILIES)))
    assert Counter(item.family for item in items) == dict.fromkeys(FAMILIES, 3)
    assert {item.task for item in items} == TASKS
    orders = [tuple(item.family for item in items[start : start + 11]) for start in (0, 11, 22)]
    assert len(set(orders)) == 3


def test_families_are_chosen_by_name_and_may_be_repeated() -> None:
    items = World(1, families=["signs", "charts", "signs"]).items(30)
    assert Counter(item.family for item in items) == {"signs": 20, "charts": 10}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_items_are_complete(family: str, split: Split) -> None:
    for item in World(7, split, [family]).items(40):
        assert item.family == family
        assert item.task == FAMILIES[family].task
        assert [message.role for message in item.messages] == ["user"]
        assert bool(item.scenes) == bool(pictures(item.messages)) == FAMILIES[family].sees
        assert len(item.wrong) >= 3
        assert {wrong.fault for wrong in item.wrong} <= set(FAULTS)
        responses = [item.right, *(wrong.response for wrong in item.wrong)]
        assert all(message.role == "assistant" for response in responses for message in response)
        for picture in pictures(item.messages + item.right):
            assert picture.shape == (112, 112, 3)
            assert picture.dtype == np.uint8
        whole = [str(response) if not item.answer_scenes else None for response in responses]
        assert item.answer_scenes or len(set(whole)) == len(whole)
        assert len(set(item.answer_scenes)) == len(item.answer_scenes)
        assert item.chat()[-1].role == "assistant"
        assert isinstance(item.chat()[-1].content, str)


def test_every_kind_of_fault_occurs() -> None:
    found = Counter(wrong.fault for item in World(2).items(440) for wrong in item.wrong)
    assert set(found) == set(FAULTS)


def test_groups_hide_the_right_response() -> None:
    places: Counter[int] = Counter()
    for item in World(4).items(330):
        ranking = item.group(2)
        assert sorted(ranking.ranks) == [0, 1, 1]
        place = ranking.ranks.index(0)
        places[place] += 1
        assert ranking.group.responses[place] == item.right
        assert ranking.group.messages == item.messages
        assert (ranking.group.id, ranking.group.task) == (item.id, item.task)
        again = item.group(2)
        assert (again.ranks, again.group.responses) == (ranking.ranks, ranking.group.responses)
        wrong = [entry.response for entry in item.wrong]
        assert all(response in wrong for i, response in enumerate(ranking.group.responses) if i != place)
    assert min(places.values()) > 80


def test_groups_differ_with_their_seed_and_may_hold_every_wrong_response() -> None:
    item = World(4, families=["captions"]).item(0)
    assert len(item.group().group) == len(item.wrong) + 1
    assert len({str(item.group(1, seed).group.responses) for seed in range(20)}) > 2


@pytest.mark.parametrize("wanted", [0, 9])
def test_groups_of_an_impossible_size_are_refused(wanted: int) -> None:
    with pytest.raises(ConfigError, match=r"item train-4-0: \d wrong responses wanted; it has 4"):
        World(4, families=["captions"]).item(0).group(wanted)


def test_blanked_items_show_nothing_and_say_the_same() -> None:
    for item in World(5).items(33):
        blank = item.blanked()
        for one, other in (
            (item.messages, blank.messages), (item.right, blank.right), (item.lesson, blank.lesson),
            *((a.response, b.response) for a, b in zip(item.wrong, blank.wrong, strict=True)),
        ):  # fmt: skip
            assert [part.text for m in one for part in m.parts if isinstance(part, Text)] == [
                part.text for m in other for part in m.parts if isinstance(part, Text)
            ]
            shown = pictures(one)
            assert [picture.shape for picture in shown] == [picture.shape for picture in pictures(other)]
            assert all((picture == GREY).all() for picture in pictures(other))
            assert all((picture != GREY).any() for picture in shown)
        assert blank.group(2).ranks == item.group(2).ranks


def test_a_picture_that_is_an_answer_is_spoken_of_in_the_lesson() -> None:
    for item in World(6, families=["editing"]).items(60):
        *_, shown, question, answer = item.chat()
        assert [message.role for message in (shown, question, answer)] == ["assistant", "user", "assistant"]
        before, after = pictures(item.chat())
        unchanged = (before == after).all()
        assert isinstance(answer.content, str)
        assert unchanged == answer.content.startswith("nothing")


def test_the_same_scene_at_another_size() -> None:
    small, large = World(8).item(4), World(8, size=280).item(4)
    assert small.scenes == large.scenes
    assert {picture.shape for picture in pictures(large.messages)} == {(280, 280, 3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "unknown split 'test'; known: train, practice, heldout"),
        ({"families": ["chart"]}, "unknown key 'chart'; did you mean 'charts'"),
        ({"families": []}, "none are named"),
        ({"size": 28}, "pictures of 28 pixels are too small"),
    ],
)
def test_worlds_that_cannot_be(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        World(**arguments)  # type: ignore[arg-type]


def test_practice_in_sums_and_orders_is_wider_than_tasks_and_holds_out_the_same() -> None:
    asked = [str(item.messages[0].content) for item in World(2, "practice", ["text"]).items(300)]
    largest = max(int(number) for text in asked for number in re.findall(r"\d+", text))
    assert largest > 2 * text_only.TOP["train"]
    assert any(name in text for text in asked for name in text_only.MORE_NAMES)
    sums = [re.search(r"(\d+) \+ (\d+)", text) for text in asked]
    assert not any(text_only.is_heldout(*map(int, found.groups())) for found in sums if found)


def test_numbers_start_at_zero() -> None:
    with pytest.raises(ConfigError, match="numbered from 0, got -1"):
        World().item(-1)


def test_the_generator_needs_no_torch() -> None:
    code = (
        "import sys; from vlreward.tiny.world import World; World().item(0).group(); "
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
