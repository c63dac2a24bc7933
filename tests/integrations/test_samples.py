"""What trainers hand over becomes groups, and rewards find their way back."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest

from vlreward.errors import EngineError, InputError, LengthError
from vlreward.integrations.samples import Sample, Scorer, fold, prompt_of
from vlreward.types import Image, Message, Reward, Text, parse_messages, parse_response

from .seeing import SeeingEngine, array, asked, picture, reward_of, seen


def sample(prompt: Any, answer: str, key: str | None = None) -> Sample:
    return Sample(prompt=parse_messages(prompt), response=parse_response(answer, "answer"), answer=key)


SYSTEM = {"role": "system", "content": "Be brief."}
RED, BLUE = picture("red"), picture("blue")


@pytest.mark.parametrize(
    ("messages", "images", "wanted"),
    [
        ("What?", None, "What?"),
        ([{"role": "user", "content": "What?"}], [RED], asked("What?", RED)),
        ([SYSTEM, {"role": "user", "content": "What?"}], [RED, BLUE], [SYSTEM, *asked("What?", RED, BLUE)]),
        ("<image>What?", [RED], asked("What?", RED)),
        ("<image><image>What?", array([RED, BLUE]), asked("What?", RED, BLUE)),
        ("Say <image>.", None, "Say <image>."),
        ("Say <image>.", [], "Say <image>."),
        (asked("What?", None), [RED], asked("What?", RED)),
        (asked("What?", RED), [RED], asked("What?", RED)),
        (asked("What?", RED), None, asked("What?", RED)),
    ],
)
def test_pictures_find_their_places(messages: Any, images: Any, wanted: Any) -> None:
    found = prompt_of(messages, images=images, marks=True, where="here")
    assert seen(found) == seen(parse_messages(wanted))


def test_without_marks_a_mark_is_text() -> None:
    (message,) = prompt_of("<image>What?", images=[RED], marks=False, where="here")
    assert [type(part) for part in message.parts] == [Image, Text]
    assert message.parts[1] == Text(text="<image>What?")


@pytest.mark.parametrize(
    ("messages", "images"),
    [("<image><image>What?", [RED]), (asked("What?", RED), [RED, BLUE]), (asked("What?", None, None), [RED])],
)
def test_other_numbers_of_pictures_are_an_error(messages: Any, images: Any) -> None:
    with pytest.raises(InputError, match=r"^here: \d in 'images' but \d <image>"):
        prompt_of(messages, images=images, marks=True, where="here")


def test_one_group_for_a_prompt_however_often_it_is_copied(tmp_path: Any) -> None:
    RED.save(tmp_path / "red.png")
    data = (tmp_path / "red.png").read_bytes()
    prompts = [asked("What?", source) for source in (RED, BLUE, RED, data, str(tmp_path / "red.png"), data, RED)]
    prompts = [copy.deepcopy(prompt) for prompt in prompts]
    prompts[6] = asked("What else?", RED)
    groups, places = fold([sample(prompt, str(i)) for i, prompt in enumerate(prompts)])
    assert places == [[0, 2], [1], [3, 5], [4], [6]]
    assert [group.id for group in groups] == ["samples[0]", "samples[1]", "samples[3]", "samples[4]", "samples[6]"]
    assert groups[0].responses == ((Message("assistant", "0"),), (Message("assistant", "2"),))


def test_pixel_limits_tell_prompts_apart() -> None:
    def limited(pixels: int) -> Any:
        return [{"role": "user", "content": [{"type": "image", "image": RED, "max_pixels": pixels}]}]

    assert len(fold([sample(limited(100), "a"), sample(limited(200), "b")])[0]) == 2


def test_a_step_is_one_call() -> None:
    engine = SeeingEngine()
    prompts = [asked("What?", RED), asked("Where?"), asked("What?", RED)]
    rewards = Scorer(engine)([sample(prompt, str(i)) for i, prompt in enumerate(prompts)])
    assert rewards == [reward_of(prompt, str(i)) for i, prompt in enumerate(prompts)]
    assert engine.calls == [[2, 1]]
    assert Scorer(engine)([]) == []
    assert len(engine.calls) == 1


def test_combine_gets_text_key_and_reward() -> None:
    told: list[tuple[str, Any, float]] = []

    def combine(text: str, key: Any, reward: float) -> float:
        told.append((text, key, reward))
        return 7.0

    assert Scorer(SeeingEngine(), combine=combine)([sample("Why?", "So.", "key")]) == [7.0]
    assert told == [("So.", "key", reward_of("Why?", "So."))]


def test_what_cannot_be_scored_ends_training_or_gets_none(caplog: pytest.LogCaptureFixture) -> None:
    samples = [sample("Why?", "So."), sample("Why?", "This is too long."), sample("When?", "Now.")]
    with pytest.raises(LengthError, match=r"samples\[0\]"):
        Scorer(SeeingEngine())(samples)
    with caplog.at_level(logging.WARNING, logger="vlreward"):
        rewards = Scorer(SeeingEngine(), skip_unscorable=True)(samples)
    assert rewards == [reward_of("Why?", "So."), None, reward_of("When?", "Now.")]
    assert "an answer gets no reward: group 'samples[0]': an answer is too long" in caplog.text


def test_a_short_reply_is_an_error() -> None:
    class Short(SeeingEngine):
        def score(self, groups: Any) -> list[Reward]:
            return [Reward(id=group.id, rewards=(0.0,)) for group in groups]

    with pytest.raises(EngineError, match=r"gave \[1\] rewards for groups of \[2\]"):
        Scorer(Short())([sample("Why?", "So."), sample("Why?", "Thus.")])
