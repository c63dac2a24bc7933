"""The bodies of the native protocol, as the OpenAPI schema describes them.

Messages and responses are read by `vlreward.types`, which knows more spellings of the same and says better what is
wrong with one; here they are only described.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

_PICTURE = (
    "A data: URI, `media:` and the SHA-256 of a picture sent before, `part:` and the name of a part of this multipart "
    "request, or an http(s) URL where the server allows it"
)
Pixels: TypeAlias = Annotated[int | None, Field(gt=0, description="overrides the model's limit")]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Wire):
    """A run of text."""

    type: Literal["text"] = "text"
    text: str


class ImagePart(_Wire):
    """A picture."""

    type: Literal["image"] = "image"
    image: str = Field(description=_PICTURE)
    min_pixels: Pixels = None
    max_pixels: Pixels = None


class Url(_Wire):
    """What a picture of the OpenAI form is."""

    url: str = Field(description=_PICTURE)


class ImageUrlPart(_Wire):
    """A picture, as OpenAI clients write it."""

    type: Literal["image_url"] = "image_url"
    image_url: Url
    min_pixels: Pixels = None
    max_pixels: Pixels = None


class VideoPart(_Wire):
    """A video: a file, or its frames, which count as sampled already."""

    type: Literal["video"] = "video"
    video: str | list[str] = Field(description=f"{_PICTURE}; or a list of such, its frames")
    fps: Annotated[float | None, Field(gt=0)] = None
    max_frames: Annotated[int | None, Field(gt=0)] = None
    min_pixels: Pixels = None
    max_pixels: Pixels = None


Part: TypeAlias = TextPart | ImagePart | ImageUrlPart | VideoPart


class ChatMessage(_Wire):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[Part]


Messages: TypeAlias = SkipValidation[str | list[ChatMessage]]
Responses: TypeAlias = SkipValidation[
    Annotated[list[str | ChatMessage | list[Part] | list[ChatMessage]], Field(min_length=1)]
]

_QUESTION: dict[str, Any] = {"role": "user", "content": "What is 2 + 2?"}
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
_SHOWN: dict[str, Any] = {
    "role": "user",
    "content": [{"type": "image", "image": _PIXEL}, {"type": "text", "text": "Which colour is this?"}],
}


class WireGroup(_Wire):
    """One prompt and the responses to it."""

    id: str | None = Field(default=None, description="for the client's own use")
    messages: Messages = Field(description="the conversation up to the response; a string is one user message")
    responses: Responses = Field(
        description="one entry per response: text, a list of parts, or messages of which the last is an assistant's"
    )


class WirePair(WireGroup):
    """One prompt and two responses to it."""

    responses: SkipValidation[
        Annotated[list[str | ChatMessage | list[Part] | list[ChatMessage]], Field(min_length=2, max_length=2)]
    ] = Field(description="two, each as in a group")


class ScoreRequest(_Wire):
    """Groups to score or to rank."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"groups": [{"id": "sum", "messages": [_QUESTION], "responses": ["4", "5"]}]},
                {"groups": [{"messages": [_SHOWN], "responses": ["It is red.", "It is blue.", "It is a cat."]}]},
            ]
        },
    )
    groups: list[WireGroup]


class CompareRequest(_Wire):
    """Groups of two responses."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"groups": [{"messages": [_QUESTION], "responses": ["4", "5"]}]}]},
    )
    groups: list[WirePair]


class TraceRequest(_Wire):
    """A conversation that ends in an answer of plain text."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"messages": [_QUESTION, {"role": "assistant", "content": "Two and two. That is 4."}]}]
        },
    )
    messages: SkipValidation[list[ChatMessage]]


class ScoreResponse(BaseModel):
    """The rewards."""

    rewards: list[list[float]] = Field(
        description="of each group's responses, in order; only their order means anything", examples=[[[3.25, -1.5]]]
    )
    model: str = Field(examples=["reward-7b"])


class Ranked(BaseModel):
    """A response and its reward."""

    index: int = Field(description="its place in the group")
    reward: float


class RankResponse(BaseModel):
    """Rankings."""

    rankings: list[list[Ranked]] = Field(
        description="of each group, from best to worst; ties keep their order",
        examples=[[[{"index": 0, "reward": 3.25}, {"index": 1, "reward": -1.5}]]],
    )
    model: str = Field(examples=["reward-7b"])


class CompareResponse(BaseModel):
    """Probabilities."""

    probabilities: list[float] = Field(
        description="of each pair, the probability that the first response is better", examples=[[0.99]]
    )
    calibrated: bool = Field(description="whether by the model's calibration, or by σ of the difference of rewards")
    model: str = Field(examples=["reward-7b"])


class Point(BaseModel):
    """Where an answer could have stopped."""

    end: int = Field(description="in characters of the answer")
    text: str = Field(description="the sentence that ends there")
    reward: float = Field(description="of the answer up to there")


class TraceResponse(BaseModel):
    """The reward after each sentence."""

    points: list[Point] = Field(
        examples=[
            [{"end": 12, "text": "Two and two.", "reward": 0.5}, {"end": 23, "text": " That is 4.", "reward": 3.25}]
        ]
    )
    model: str = Field(examples=["reward-7b"])


class WireError(BaseModel):
    """What went wrong."""

    code: str = Field(examples=["bad_request"])
    message: str = Field(examples=["unknown role 'robot'; known: system, user, assistant, tool"])
    where: str | None = Field(description="the part of the request that it is about", examples=["groups[0]"])
    media: list[str] | None = Field(default=None, description="with code unknown_media: the ids to be sent again")


class ErrorResponse(BaseModel):
    """An error."""

    error: WireError
