from __future__ import annotations

import pytest

from vlreward.errors import CheckpointError, ConfigError, InputError
from vlreward.model.checkpoints import Question
from vlreward.types import Image, Message, Part, Text

PICTURE = Image(source="cat.png")
PROMPT = (Message("user", (PICTURE, Text(text="What is it?"))),)
ANSWER = (Message("assistant", "A cat."),)
PLACES = "<Query>: {prompt}\n<Document>: {response}\nIs it right?"


def flat(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    """Role and text of each message, pictures as their path in brackets."""

    def text(part: Part) -> str:
        return part.text if isinstance(part, Text) else f"[{part.source}]"

    return [(message.role, "".join(map(text, message.parts))) for message in messages]


def test_without_places_the_question_is_a_further_user_turn():
    asked = Question().apply(PROMPT + ANSWER, 1)
    assert asked[:2] == PROMPT + ANSWER
    assert flat(asked)[2:] == [("user", "Is the answer above correct? Answer Yes or No.")]


def test_places_are_filled_in_one_user_message_and_pictures_stay_in_place():
    asked = Question(template=PLACES).apply(PROMPT + ANSWER, 1)
    assert flat(asked) == [("user", "<Query>: [cat.png]What is it?\n<Document>: A cat.\nIs it right?")]
    assert asked[0].content[1] is PICTURE
    assert len(asked[0].content) == 3, "neighbouring texts are one part"


def test_text_alone_stays_a_plain_string():
    asked = Question(template=PLACES).apply((Message("user", "2+2?"), Message("assistant", "4")), 1)
    assert asked == (Message("user", "<Query>: 2+2?\n<Document>: 4\nIs it right?"),)


def test_a_picture_can_be_the_answer():
    edited = (Message("assistant", (Image(source="edited.png"),)),)
    asked = Question(template="{response} from {prompt}?").apply(PROMPT + edited, 1)
    assert flat(asked) == [("user", "[edited.png] from [cat.png]What is it??")]


def test_several_turns_in_one_place_are_headed_by_their_roles():
    prompt = (*PROMPT, Message("assistant", "A cat?"), Message("user", "Sure?"))
    asked = Question(template="{prompt} | {response}").apply(prompt + ANSWER, 3)
    assert flat(asked) == [("user", "User: [cat.png]What is it?\n\nAssistant: A cat?\n\nUser: Sure? | A cat.")]


def test_braces_in_the_text_are_left_alone():
    asked = Question(template="{prompt} {x} {response}").apply(
        (Message("user", "a{response}b"), Message("assistant", "{prompt}")), 1
    )
    assert asked == (Message("user", "a{response}b {x} {prompt}"),)


@pytest.mark.parametrize(
    ("question", "own", "expected"),
    [
        (Question(template=PLACES), "Be brief.", ["system: Be brief.", "user"]),
        (Question(template=PLACES, system="Judge."), None, ["system: Judge.", "user"]),
        # The conversation's own system message is then a part of what is judged.
        (Question(template=PLACES, system="Judge."), "Be brief.", ["system: Judge.", "user"]),
        (Question(system="Judge."), None, ["system: Judge.", "user", "assistant", "user"]),
        (Question(system="Judge."), "Be brief.", ["system: Be brief.\n\nJudge.", "user", "assistant", "user"]),
        (Question(), "Be brief.", ["system: Be brief.", "user", "assistant", "user"]),
    ],
)
def test_system_messages(question: Question, own: str | None, expected: list[str]):
    prompt = ((Message("system", own),) if own else ()) + PROMPT
    asked = question.apply(prompt + ANSWER, len(prompt))
    assert [f"{role}: {text}" if role == "system" else role for role, text in flat(asked)] == expected
    if own and question.system and question.in_place:
        assert "System: Be brief." in flat(asked)[1][1]


@pytest.mark.parametrize("n_prompt", [-1, 2, 3])
def test_a_response_must_follow_the_prompt(n_prompt: int):
    with pytest.raises(InputError, match=rf"question: {n_prompt} prompt messages of 2; a response must follow them"):
        Question().apply(PROMPT + ANSWER, n_prompt)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positive": ""}, "question: a token is empty; name the tokens to compare, e.g. 'Yes' and 'No'"),
        ({"negative": ""}, "question: a token is empty; name the tokens to compare, e.g. 'Yes' and 'No'"),
        ({"positive": "No"}, "question: positive and negative are both 'No'; the reward would always be 0"),
        (
            {"template": "{prompt}?"},
            "question: the template has {prompt} but no {response}; give both or neither",
        ),
        (
            {"template": "{response}?"},
            "question: the template has {response} but no {prompt}; give both or neither",
        ),
        ({"template": ""}, "question: the template is empty; write the question that is asked of the model"),
    ],
)
def test_questions_that_cannot_be_are_refused(arguments: dict[str, str], message: str):
    with pytest.raises(ConfigError) as error:
        Question(**arguments)
    assert str(error.value) == message


def test_round_trip_through_a_dictionary():
    question = Question(
        positive="yes", negative=None, template=PLACES, system="Judge.", prefill="<think>\n\n</think>\n"
    )
    assert Question.from_dict(question.to_dict(), "x") == question


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Is it?", "f: 'question' must be an object, got str"),
        ({"positve": "Yes"}, "f: question: unknown key 'positve'; did you mean 'positive'?"),
        ({"prefill": None}, "f: question: 'prefill' must be text, got None"),
        ({"positive": 3}, "f: question: 'positive' must be text, got 3"),
        ({"positive": "No"}, "f: question: positive and negative are both 'No'; the reward would always be 0"),
    ],
)
def test_a_saved_question_that_cannot_be_names_the_file(value: object, message: str):
    with pytest.raises(CheckpointError) as error:
        Question.from_dict(value, "f")
    assert str(error.value) == message
