"""Groups, messages and parts: every form that is accepted, and the errors of those that are not."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlreward.errors import InputError, ScoreError
from vlreward.types import (
    Group,
    Image,
    Message,
    Ranking,
    Reward,
    Text,
    Video,
    parse_message,
    parse_messages,
    parse_part,
    parse_response,
)


def test_importing_types_brings_neither_torch_nor_a_decoder() -> None:
    code = "import sys, vlreward.types; print(sorted({'torch', 'PIL', 'numpy', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


class TestParts:
    @pytest.mark.parametrize(
        ("part", "source"),
        [
            ({"type": "image", "image": "a.png"}, "a.png"),
            ({"image": "a.png"}, "a.png"),
            ({"type": "image", "url": "https://x/a.png"}, "https://x/a.png"),
            ({"type": "image", "path": "a.png"}, "a.png"),
            ({"type": "image", "base64": "QUJD"}, "data:image;base64,QUJD"),
            ({"type": "image_url", "image_url": {"url": "data:,x", "detail": "high"}}, "data:,x"),
            ({"type": "image_url", "image_url": "a.png"}, "a.png"),
            ({"type": "image", "image": {"bytes": b"x", "path": "a.png"}}, b"x"),
            ({"type": "image", "image": {"bytes": None, "path": "a.png"}}, "a.png"),
            ({"type": "image", "image": {"bytes": b"", "path": None}}, b""),
            ({"type": "image", "image": Path("a.png")}, Path("a.png")),
            ({"type": "image"}, None),
            ({"type": "image", "image": None, "text": None, "url": "a.png"}, "a.png"),
        ],
    )
    def test_image_sources(self, part: dict[str, Any], source: Any) -> None:
        image = parse_part(part, "here")
        assert isinstance(image, Image)
        assert image.source == source

    def test_limits_of_pixels(self) -> None:
        image = parse_part({"type": "image", "image": "a", "min_pixels": 4.0, "max_pixels": 9}, "here")
        assert (image.min_pixels, image.max_pixels) == (4, 9)  # type: ignore[union-attr]

    def test_a_video_file_and_how_to_sample_it(self) -> None:
        video = parse_part({"type": "video", "video": "a.mp4", "fps": 1, "max_frames": 8}, "here")
        assert isinstance(video, Video)
        assert (video.source, video.fps, video.max_frames, video.is_frames) == ("a.mp4", 1.0, 8, False)

    @pytest.mark.parametrize("frames", [["a", "b"], ("a", "b"), np.array(["a", "b"])])
    def test_a_video_of_frames(self, frames: Any) -> None:
        video = parse_part({"type": "video", "video": frames}, "here")
        assert isinstance(video, Video)
        assert video.source == ("a", "b")
        assert video.is_frames

    def test_parts_that_are_parts_already(self) -> None:
        part = Text(text="x")
        assert parse_part(part, "here") is part

    @pytest.mark.parametrize(
        ("part", "message"),
        [
            ("x", "here: a content part must be an object with a 'type', got str"),
            ({}, "here: unknown part type None; known: image, image_url, text, video, video_url"),
            ({"type": "imag"}, "here: unknown part type 'imag'; known: .*"),
            ({"type": ["image"]}, "here: unknown part type .*"),
            ({"type": "text"}, "here: a text part needs 'text', a string"),
            ({"type": "text", "text": 5}, "here: a text part needs 'text', a string"),
            ({"type": "image", "imag": "x"}, "here: image part: unknown key 'imag'; did you mean 'image'\\?"),
            ({"type": "image", "image": "x", "url": "y"}, "here: .* several sources: image, url; give one of them"),
            ({"type": "image", "image": "x", "base64": "y"}, "here: .* several sources: image, base64; .*"),
            ({"type": "image", "base64": b"y"}, "here: 'base64' must be a string, got bytes"),
            ({"type": "image", "image": {"x": 1}}, "here: .* needs 'bytes' or 'path', got \\['x'\\]"),
            ({"type": "image_url", "image_url": {}}, "here: .* needs image_url.url, a string"),
            ({"type": "video_url", "video_url": ["a"]}, "here: .* needs video_url.url, a string"),
            ({"type": "image", "max_pixels": 0}, "here: max_pixels must be a positive integer, got 0"),
            ({"type": "image", "max_pixels": 2.5}, "here: max_pixels must be a positive integer, got 2.5"),
            ({"type": "image", "max_pixels": True}, "here: max_pixels must be a positive integer, got True"),
            ({"type": "image", "max_pixels": math.inf}, "here: max_pixels must be a positive integer, got inf"),
            ({"type": "image", "max_pixels": math.nan}, "here: max_pixels must be a positive integer, got nan"),
            ({"type": "video", "fps": "2"}, "here: fps must be a positive number, got '2'"),
            ({"type": "video", "fps": -1}, "here: fps must be a positive number, got -1"),
            ({"type": "video", "fps": 10**400}, "here: fps must be a positive number, got 10+"),
            ({"type": "image", "fps": 1}, "here: image part: unknown key 'fps'; .*"),
        ],
    )
    def test_errors(self, part: Any, message: str) -> None:
        with pytest.raises(InputError, match=f"^{message}$"):
            parse_part(part, "here")


class TestMessages:
    def test_text_and_parts_stay_apart(self) -> None:
        plain = parse_message({"role": "user", "content": "x"}, "here")
        parts = parse_message({"role": "user", "content": [{"type": "text", "text": "x"}]}, "here")
        assert plain != parts
        assert plain.parts == parts.parts == (Text(text="x"),)

    def test_a_string_is_one_user_message(self) -> None:
        assert parse_messages("hi") == (Message("user", "hi"),)

    @pytest.mark.parametrize(
        ("messages", "error"),
        [
            (None, "here: expected a list of messages, got NoneType"),
            ({"role": "user", "content": "x"}, "here: expected a list of messages, got dict"),
            (["x"], r"here\[0\]: a message must be an object with 'role' and 'content', got str"),
            ([{"role": "usr", "content": "x"}], r"here\[0\]: unknown role 'usr'; known: system, user, assistant, tool"),
            ([{"role": "user", "contents": "x"}], r"here\[0\]: unknown key 'contents'; did you mean 'content'\?"),
            ([{"role": "user"}], r"here\[0\]: 'content' must be a string or a list of parts, got NoneType"),
            ([{"role": "user", "content": ["x"]}], r"here\[0\], part 0: a content part must be an object .*"),
        ],
    )
    def test_errors(self, messages: Any, error: str) -> None:
        with pytest.raises(InputError, match=f"^{error}$"):
            parse_messages(messages, "here")


class TestResponses:
    @pytest.mark.parametrize(
        "value",
        [
            "x",
            {"role": "assistant", "content": "x"},
            Message("assistant", "x"),
            [{"role": "assistant", "content": "x"}],
            [Message("assistant", "x")],
        ],
    )
    def test_forms_of_one_answer(self, value: Any) -> None:
        assert parse_response(value, "here") == (Message("assistant", "x"),)

    @pytest.mark.parametrize("value", [{"type": "text", "text": "x"}, [{"type": "text", "text": "x"}]])
    def test_parts(self, value: Any) -> None:
        assert parse_response(value, "here") == (Message("assistant", (Text(text="x"),)),)

    def test_an_answer_may_take_several_turns(self) -> None:
        turns = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}]
        assert len(parse_response([*turns, {"role": "assistant", "content": "c"}], "here")) == 3

    @pytest.mark.parametrize(
        "value",
        [
            {"role": "user", "content": "x"},
            Message("user", "x"),
            [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],
        ],
    )
    def test_an_answer_ends_with_the_assistant(self, value: Any) -> None:
        with pytest.raises(InputError, match=r"^here: a response must end in an assistant message, not 'user'$"):
            parse_response(value, "here")

    @pytest.mark.parametrize("value", [None, 5, [], ()])
    def test_neither_text_nor_list(self, value: Any) -> None:
        with pytest.raises(InputError, match=r"^here: expected text, a list of parts or a list of messages, got "):
            parse_response(value, "here")


class TestGroup:
    def test_conversations(self) -> None:
        group = Group("q", ["a", "b"], id="7", task="chat")
        assert len(group) == 2
        assert [[message.content for message in one] for one in group.conversations()] == [["q", "a"], ["q", "b"]]

    def test_responses_may_come_from_a_generator(self) -> None:
        assert len(Group("q", (text for text in "abc"))) == 3

    def test_groups_are_values(self) -> None:
        group = Group("q", ["a"], id="7")
        assert group == Group([{"role": "user", "content": "q"}], ["a"], id="7")
        assert pickle.loads(pickle.dumps(group)) == copy.deepcopy(group) == dataclasses.replace(group) == group
        assert dataclasses.replace(group, id="8").id == "8"
        with pytest.raises(dataclasses.FrozenInstanceError):
            group.id = "8"  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"responses": []}, "group 'g': no responses; a group needs at least one"),
            ({"responses": "x"}, "group 'g': 'responses' must be a list, got str"),
            ({"responses": None}, "group 'g': 'responses' must be a list, got NoneType"),
            ({"responses": ["x", 5]}, r"group 'g': responses\[1\]: expected text, .*"),
            ({"messages": 5}, "group 'g': messages: expected a list of messages, got int"),
            ({"responses": [], "where": "a.jsonl:3"}, "a.jsonl:3: no responses; .*"),
        ],
    )
    def test_errors(self, arguments: dict[str, Any], error: str) -> None:
        with pytest.raises(InputError, match=f"^{error}$"):
            Group(**({"messages": "q", "responses": ["a"], "id": "g"} | arguments))


def test_a_ranking_ranks_every_response() -> None:
    group = Group("q", ["a", "b"], id="7")
    assert Ranking(group=group, ranks=(0, 0)).margin is None
    with pytest.raises(InputError, match=r"^group '7': 3 ranks for 2 responses$"):
        Ranking(group=group, ranks=(0, 1, 2))


def test_the_order_of_rewards_keeps_ties() -> None:
    assert Reward(rewards=(1.0, 3.0, 2.0, 3.0)).order == (1, 3, 2, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_is_finite(value: float) -> None:
    with pytest.raises(ScoreError, match=r"^group '7': responses\[1\]: the reward is .*, not a finite number$"):
        Reward(id="7", rewards=(0.0, value))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Message("robot", "x"), "message: unknown role 'robot'; known: system, user, assistant, tool"),
        (lambda: Message("user", None), "message: 'content' must be a string or a list of parts, got NoneType"),  # type: ignore[arg-type]
        (lambda: Message("user", [{"type": "imge"}]), "message, part 0: unknown part type 'imge'"),  # type: ignore[arg-type]
        (lambda: Text(text=5), "text: must be a string, got int"),  # type: ignore[arg-type]
        (lambda: Image(source="a.png", max_pixels=-5), "image: max_pixels must be a positive integer, got -5"),
        (lambda: Image(source="a.png", min_pixels=0), "image: min_pixels must be a positive integer, got 0"),
        (lambda: Video(source="a.mp4", fps=float("nan")), "video: fps must be a positive number, got nan"),
        (lambda: Video(source="a.mp4", fps=0), "video: fps must be a positive number, got 0"),
        (lambda: Video(source="a.mp4", max_frames=1.5), "video: max_frames must be a positive integer, got 1.5"),  # type: ignore[arg-type]
    ],
)
def test_what_is_made_by_hand_is_checked_as_what_is_read(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)):
        make()


def test_a_message_takes_parts_as_dictionaries() -> None:
    message = Message("user", [{"type": "text", "text": "What is it?"}, Text(text="It.")])  # type: ignore[arg-type,list-item]
    assert message.content == (Text(text="What is it?"), Text(text="It."))


def test_an_array_of_frames_is_a_video() -> None:
    frames = np.zeros((3, 4, 6, 3), dtype=np.uint8)
    parsed = parse_message({"role": "user", "content": [{"type": "video", "video": frames}]}, "m")
    for video in (Video(source=frames), parsed.parts[0]):
        assert isinstance(video, Video)
        assert video.is_frames
        assert [frame.shape for frame in video.source] == [(4, 6, 3)] * 3
