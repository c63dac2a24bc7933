"""Templated texts taken apart."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlreward.errors import InputError
from vlreward.serve.dialects import templated
from vlreward.serve.dialects.templated import group_of, media_ids, picture_source
from vlreward.types import Group, Message, Text

from .conftest import VISION, chatml

PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
IDS = [f"media:{digit * 64}" for digit in "0123"]


def parts(message: Message) -> list[str]:
    return [part.text if isinstance(part, Text) else f"{type(part).__name__}:{part.source}" for part in message.parts]


def plain(group: Group) -> tuple[list[tuple[str, object]], list[tuple[str, object]]]:
    return [(m.role, m.content) for m in group.messages], [(m.role, m.content) for m in group.responses[0]]


def test_turns_of_a_conversation() -> None:
    text = chatml(
        ("system", "Be\nkind."), ("user", "Hi "), ("assistant", "Yes?"), ("user", "2+2"), ("assistant", "4\n")
    )
    before, answer = plain(group_of(text, None, [], "query[0]"))
    assert before == [("system", "Be\nkind."), ("user", "Hi "), ("assistant", "Yes?"), ("user", "2+2")]
    assert answer == [("assistant", "4\n")]


@pytest.mark.parametrize("end", ["<|im_end|>", "<|im_end|>\n", "", "<|im_end|><|endoftext|><|endoftext|>"])
@pytest.mark.parametrize("start", ["", "<|endoftext|><|endoftext|>"])
@pytest.mark.parametrize("prompt", [None, PROMPT, "something else"])
def test_padding_falls_away_and_a_cut_answer_is_closed(start: str, end: str, prompt: str | None) -> None:
    before, answer = plain(group_of(f"{start}{PROMPT}Hello.{end}", prompt, [], "q"))
    assert before == [("user", "Hi")]
    assert answer == [("assistant", "Hello.")]


def test_an_agents_turns_are_its_response() -> None:
    text = PROMPT + "Call it.<|im_end|>\n" + chatml(("user", "result: 4"), ("assistant", "Four."))
    before, answer = plain(group_of(text, PROMPT, [], "q"))
    assert before == [("user", "Hi")]
    assert answer == [("assistant", "Call it."), ("user", "result: 4"), ("assistant", "Four.")]


@pytest.mark.parametrize("odd", ["a<|im_start|>b", "a<|im_end|>\n<|im_start|>user\nmore?", "<|im_end|>x", ""])
def test_special_tokens_in_an_answer_stay_in_it(odd: str) -> None:
    before, answer = plain(group_of(f"{PROMPT}{odd}<|im_end|>", PROMPT, [], "q"))
    assert before == [("user", "Hi")]
    assert answer == [("assistant", odd)]


def test_what_the_prompt_puts_into_the_answers_mouth_is_the_answers() -> None:
    _, answer = plain(group_of(f"{PROMPT}<think>\nso</think>4<|im_end|>", f"{PROMPT}<think>\n", [], "q"))
    assert answer == [("assistant", "<think>\nso</think>4")]


def test_text_of_no_template_is_split_at_the_prompt() -> None:
    before, answer = plain(group_of("Question: 2+2?\nAnswer: 4", "Question: 2+2?\nAnswer:", [], "q"))
    assert (before, answer) == ([("user", "Question: 2+2?\nAnswer:")], [("assistant", " 4")])


@pytest.mark.parametrize(
    ("query", "prompt", "words"),
    [
        ("2+2? 4", None, "comes without its prompt"),
        ("2+2? 4", "3+3?", "does not begin with its prompt"),
        (chatml(("user", "Hi")), None, "ends in a user turn"),
        ("", None, "comes without its prompt"),
        ("<|im_start|>robot\nHi<|im_end|>", None, "comes without its prompt"),
    ],
)
def test_what_cannot_be_taken_apart_is_said(query: str, prompt: str | None, words: str) -> None:
    with pytest.raises(InputError, match=rf"query\[3\].*{words}"):
        group_of(query, prompt, [], "query[3]")


def test_pictures_fill_placeholders_in_order() -> None:
    run = VISION.replace("<|image_pad|>", "<|image_pad|>" * 5)
    video = "<|vision_start|><|video_pad|><|vision_end|>"
    group = group_of(chatml(("user", f"A {run} and {video}?"), ("assistant", VISION)), None, IDS[:3], "q")
    assert parts(group.messages[0]) == ["A ", f"Image:{IDS[0]}", " and ", f"Video:{IDS[1]}", "?"]
    assert parts(group.responses[0][0]) == [f"Image:{IDS[2]}"]


def test_pictures_without_placeholders() -> None:
    marked = group_of(chatml(("user", "A <image>!"), ("assistant", "<image>")), None, IDS[:1], "q")
    assert parts(marked.messages[0]) == ["A ", f"Image:{IDS[0]}", "!"]
    assert marked.responses[0][0].content == "<image>"
    bare = group_of(chatml(("system", "S"), ("user", "What?"), ("assistant", "A")), None, IDS[:2], "q")
    assert parts(bare.messages[1]) == [f"Image:{IDS[0]}", f"Image:{IDS[1]}", "What?"]
    text = group_of(chatml(("user", "Write <image>."), ("assistant", "A")), None, [], "q")
    assert text.messages[0].content == "Write <image>."


def test_another_number_of_pictures_is_refused() -> None:
    with pytest.raises(InputError, match=r"q: 1 pictures or videos but 2 placeholders"):
        group_of(chatml(("user", VISION + VISION), ("assistant", "A")), None, IDS[:1], "q")
    with pytest.raises(InputError, match=r"q: 0 pictures or videos but 1 placeholders"):
        group_of(chatml(("user", VISION), ("assistant", "A")), None, [], "q")


def test_ids_are_found_wherever_they_are() -> None:
    label = {"answer": "4", "images": [IDS[1], {"more": f'["{IDS[0]}", "{IDS[2]}"]'}], "n": 3}
    assert media_ids([label, None, 1.5]) == [IDS[1], IDS[0], IDS[2]]
    assert media_ids("media:xyz") == []


def test_pictures_as_trainers_write_them() -> None:
    assert picture_source("iVBORw0=") == "data:image;base64,iVBORw0="
    assert picture_source("/etc/passwd") == "data:image;base64,/etc/passwd"  # no path is ever read
    for source in ("data:image/png;base64,AA", "https://host/a.png", IDS[0]):
        assert picture_source(source) == source


CHARACTERS = st.characters(exclude_characters="<", codec="utf-8")


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(CHARACTERS)), max_size=4), st.text(CHARACTERS)
)
def test_text_comes_back_as_the_messages_that_made_it(turns: list[tuple[str, str]], answer: str) -> None:
    before, after = plain(group_of(chatml(*turns, ("assistant", answer)), None, [], "q"))
    assert before == turns
    assert after == [("assistant", answer)]


_TURN = re.compile(
    r"<\|im_start\|>(system|user|assistant|tool)\n((?:(?!<\|im_start\|>).)*?)(<\|im_end\|>\s*|\Z)", re.DOTALL
)


def slow_turns(text: str) -> list[tuple[str, str, bool]] | None:
    turns: list[tuple[str, str, bool]] = []
    at = 0
    while at < len(text) or not turns:
        found = _TURN.match(text, at)
        if found is None:
            return None
        turns.append((found[1], found[2], found[3].startswith("<|im_end|>")))
        at = found.end()
    return turns


@given(st.lists(st.sampled_from(["<|im_start|>", "<|im_start|>user\n", "<|im_end|>", "assistant\n", " \n", "x"])))
def test_turns_are_those_of_one_expression(pieces: list[str]) -> None:
    text = "".join(pieces)
    turns = templated._turns(text)
    assert (turns and [(t.message.role, t.message.content, t.closed) for t in turns]) == slow_turns(text)


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n" + "a" * 2_000_000,
        "<|im_start|>assistant\n<|vision_start|>" + "<|image_pad|>" * 150_000,
    ],
)
def test_a_long_text_takes_little_more_memory_than_its_own(text: str) -> None:
    tracemalloc.start()
    try:
        templated.group_of(text, None, [], "query[0]")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * len(text)


@pytest.mark.parametrize(("piece", "media"), [(VISION, []), (VISION, IDS), ("<image>", IDS)])
def test_what_nobody_can_fill_is_counted_before_it_is_made(
    piece: str, media: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    for name in ("_split_placeholders", "split_marks"):
        monkeypatch.setattr(templated, name, lambda *arguments: made.append(arguments))
    with pytest.raises(InputError, match=rf"{len(media)} pictures or videos but 5 placeholders"):
        group_of(chatml(("user", piece * 5), ("assistant", "A.")), None, media, "query[0]")
    assert not made
