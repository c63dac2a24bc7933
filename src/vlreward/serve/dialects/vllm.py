"""vLLM's scoring protocol: ``/classify``, ``/pooling``, ``/score``, ``/rerank`` and their aliases.

``/classify`` and ``/pooling`` take ``messages`` that end in the answer, or ``input``, one or several templated texts
(see `vlreward.serve.dialects.templated`; what is not ChatML is refused: it cannot be told where the answer begins).
``/score`` and ``/rerank`` take a prompt (``queries``, ``text_1``, ``data_1``, ``query``) and answers to it
(``documents``, ``items``, ``text_2``, ``data_2``): strings, or ``{"content": [parts]}``. Where vLLM would put the two
texts behind one another, they are a user's and an assistant's turn here, which is what a reward model was trained on.

Numbers are raw rewards unless ``use_activation`` (older: ``activation``, ``softmax``) is true, then σ(reward). Without
being told, vLLM does the same for checkpoints that say ``problem_type: regression``; for others with one label its
default is the sigmoid, which is never what a trainer wants.

Token ids are not read, tokens not counted (``usage`` says 0), and options that would change a score are refused, not
passed over. ``extra_info`` is searched for ids of media where a client can send text only.

All routes are also under ``/vllm``. Only there is vLLM's ``/v1/score``, which is the server's own at the root, and only
at the root is a body of ``/classify`` with ``text`` instead of ``input`` SGLang's.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from vlreward.errors import InputError
from vlreward.model.calibration import bradley_terry
from vlreward.serve.refusals import Refusal, routes
from vlreward.serve.service import Desk
from vlreward.types import Group

from . import sglang
from .bodies import USAGE, described, in_base64, listed, read, score_patiently
from .messages import Item, conversation, turn
from .templated import group_of, media_ids

_TYPES = {
    401: "AuthenticationError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
    504: "TimeoutError",
}


def shape(refusal: Refusal) -> Mapping[str, Any]:
    """``{"error": {"message", "type", "param", "code"}}``; ``code`` is the HTTP status."""
    kind = _TYPES.get(refusal.status, "BadRequestError" if refusal.status < 500 else "InternalServerError")
    error: dict[str, Any] = {"message": refusal.message, "type": kind, "param": refusal.where}
    return {"error": error | {"code": refusal.status} | ({"media": list(refusal.media)} if refusal.media else {})}


class Options(BaseModel):
    """What all requests may say."""

    model: str | None = None
    """Not compared: the server has one model."""
    request_id: str | None = None
    """Becomes part of the answer's id."""
    use_activation: bool | None = None
    """σ(reward) instead of the reward."""
    activation: bool | None = None
    """The same in vLLM before 0.11.2, and what verl sends."""
    softmax: bool | None = None
    """The same in vLLM before 0.11."""
    truncate_prompt_tokens: int | None = None
    """Texts are never cut off."""
    add_generation_prompt: bool | None = None
    """A reward is read at the end of the answer."""
    continue_final_message: bool | None = None
    """The same."""
    chat_template: str | None = None
    """The template is the model's."""
    chat_template_kwargs: dict[str, Any] | None = None
    """The same."""
    mm_processor_kwargs: dict[str, Any] | None = None
    """Pixel limits can be said per picture."""
    dimensions: int | None = None
    """A reward has one."""
    instruction: str | None = None
    """There is no place for one in a chat template."""
    max_tokens_per_query: int | None = None
    """Texts are never cut off."""
    max_tokens_per_doc: int | None = None
    """The same."""

    def groups(self) -> list[Group]:
        """What is asked about.

        Raises:
            InputError: the request is not whole.
        """
        raise NotImplementedError

    def activated(self) -> Callable[[float], float]:
        """What is done to a reward.

        Raises:
            InputError: an option is not supported.
        """
        if self.truncate_prompt_tokens == -1:  # as much as the model takes; more is refused here
            self.truncate_prompt_tokens = None
        for name in _REFUSED:
            if getattr(self, name):
                raise InputError(f"{name} is not supported by a reward server; leave it out")
        said = (value for value in (self.use_activation, self.activation, self.softmax) if value is not None)
        return bradley_terry if next(said, False) else float


_REFUSED = (
    "truncate_prompt_tokens",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "chat_template_kwargs",
    "mm_processor_kwargs",
    "dimensions",
    "instruction",
    "max_tokens_per_query",
    "max_tokens_per_doc",
)


class PoolingRequest(Options):
    """A body of ``/classify`` or ``/pooling``."""

    input: str | list[str] | None = None
    """Templated texts."""
    messages: list[dict[str, Any]] | None = None
    """A conversation that ends in the answer."""
    extra_info: Any = None
    """Searched for ids of media: one entry, or one for each text of ``input``."""
    encoding_format: Literal["float", "base64"] = "float"
    """How ``/pooling`` writes numbers."""

    def groups(self) -> list[Group]:
        """One group of one response for each text or conversation."""
        if (self.input is None) == (self.messages is None):
            raise InputError("give one of 'input' and 'messages'")
        if self.messages is not None:
            return [conversation(self.messages)]
        texts = [self.input] if isinstance(self.input, str) else self.input or []
        if not texts:
            raise InputError("'input' is empty; give at least one text")
        info = listed(self.extra_info, len(texts), "extra_info")
        return [group_of(text, None, media_ids(info[i]), f"input[{i}]") for i, text in enumerate(texts)]


class ClassifyRequest(PoolingRequest):
    """A body of ``/classify``: vLLM's, or SGLang's where there is ``text``."""

    text: str | list[str] | None = None
    """Templated texts, for SGLang."""
    image_data: Any = None
    """Their pictures, for SGLang."""

    @property
    def native(self) -> sglang.NativeRequest | None:
        """The body as SGLang's, None if it is not."""
        if self.text is None or self.input is not None or self.messages is not None:
            return None
        return sglang.NativeRequest(text=self.text, image_data=self.image_data, extra_info=self.extra_info)

    def groups(self) -> list[Group]:
        """As `PoolingRequest.groups` and `vlreward.serve.dialects.sglang.NativeRequest.groups`."""
        return self.native.groups() if self.native else super().groups()


class ScoreRequest(Options):
    """A body of ``/score``."""

    queries: Item | list[Item] | None = None
    """Prompts: one, or as many as answers."""
    documents: Item | list[Item] | None = None
    """Answers."""
    items: Item | list[Item] | None = None
    """Another name of ``documents``."""
    text_1: Item | list[Item] | None = None
    """Another name of ``queries``."""
    text_2: Item | list[Item] | None = None
    """Another name of ``documents``."""
    data_1: Item | list[Item] | None = None
    """Another name of ``queries``."""
    data_2: Item | list[Item] | None = None
    """Another name of ``documents``."""

    def groups(self) -> list[Group]:
        """One group of all answers to one prompt, or one of one answer for each prompt."""
        query, queries = self._said("queries", "text_1", "data_1")
        document, documents = self._said("documents", "items", "text_2", "data_2")
        if len(queries) == 1:
            return [_ranked(queries[0], documents, query, document)]
        if len(queries) != len(documents):
            raise InputError(f"{len(queries)} {query} for {len(documents)} {document}; send one, or one for each")
        return [
            Group([turn("user", q, f"{query}[{i}]")], [[turn("assistant", d, f"{document}[{i}]")]], id=f"{query}[{i}]")
            for i, (q, d) in enumerate(zip(queries, documents, strict=True))
        ]

    def _said(self, *names: str) -> tuple[str, list[Item]]:
        said = [(name, getattr(self, name)) for name in names if getattr(self, name) is not None]
        if len(said) != 1:
            raise InputError(f"give one of {', '.join(names)}; {len(said)} are there")
        name, value = said[0]
        if value == []:
            raise InputError(f"'{name}' is empty; give at least one")
        return name, value if isinstance(value, list) else [value]


class RerankRequest(Options):
    """A body of ``/rerank``."""

    query: Item
    """The prompt."""
    documents: Item | list[Item]
    """Answers to it."""
    top_n: int = Field(default=0, ge=0)
    """How many of the best are told; 0: all."""

    def answers(self) -> list[Item]:
        """The documents as a list."""
        return self.documents if isinstance(self.documents, list) else [self.documents]

    def groups(self) -> list[Group]:
        """One group of all answers."""
        if not self.answers():
            raise InputError("'documents' is empty; give at least one")
        return [_ranked(self.query, self.answers(), "query", "documents")]


def _ranked(query: Item, documents: Sequence[Item], name: str, names: str) -> Group:
    answers = [[turn("assistant", item, f"{names}[{i}]")] for i, item in enumerate(documents)]
    return Group([turn("user", query, name)], answers, id=names)


_ANSWER = [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]
_TEXT = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
_EXAMPLES = ({"messages": _ANSWER, "use_activation": False}, {"input": _TEXT, "use_activation": False})
_PAIRS = ({"queries": "What is 2 + 2?", "documents": ["4", "5"]},)
_RERANK = ({"query": "What is 2 + 2?", "documents": ["4", "5"], "top_n": 1},)
_BEST = {"index": 0, "document": {"text": "4", "multi_modal": None}, "relevance_score": 3.25}
_RERANKED = {
    "id": "rerank-1",
    "model": "reward-7b",
    "usage": {"prompt_tokens": 0, "total_tokens": 0},
    "results": [_BEST],
}


def _shown(prefix: str, *rows: dict[str, Any]) -> dict[str, Any]:
    """An example of an answer."""
    data = [{"index": i, **row} for i, row in enumerate(rows)]
    head = {"id": f"{prefix}-1", "object": "list", "created": 1795392000, "model": "reward-7b"}
    return {**head, "data": data, "usage": USAGE}


_CLASSIFIED = _shown("classify", {"label": "LABEL_0", "probs": [3.25], "num_classes": 1})
_POOLED = _shown("pool", {"object": "pooling", "data": [3.25]})
_SCORED = _shown("score", {"object": "score", "score": 3.25}, {"object": "score", "score": -1.5})

Asked = TypeVar("Asked", bound=Options)


async def _values(desk: Desk, request: Request, form: type[Asked]) -> tuple[Asked, list[float]]:
    """The body, and what is told of each response."""
    body, groups = await read(request, form, form.groups)
    activated = body.activated()
    return body, [activated(value) for value in await score_patiently(desk, request, groups)]


def _id(prefix: str, body: Options) -> str:
    return f"{prefix}-{body.request_id or uuid.uuid4().hex}"


def _listed(desk: Desk, prefix: str, body: Options, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": _id(prefix, body),
        "object": "list",
        "created": int(time.time()),
        "model": desk.service.model,
        "data": [{"index": i, **row} for i, row in enumerate(rows)],
        "usage": USAGE,
    }


def _document(item: Item) -> dict[str, Any]:
    content = item if isinstance(item, str) else item["content"]
    is_text = isinstance(content, str)
    return {"text": content if is_text else None, "multi_modal": None if is_text else content}


def router(desk: Desk, *, prefixed: bool = False) -> APIRouter:
    """The routes of vLLM; ``prefixed``: they go under a prefix, so that ``/v1/score`` is free for vLLM's."""
    api = APIRouter(route_class=routes(shape), tags=["vLLM"])

    @api.post("/v1/classify", openapi_extra=described(ClassifyRequest, *_EXAMPLES, answer=_CLASSIFIED))
    @api.post("/classify", openapi_extra=described(ClassifyRequest, *_EXAMPLES, answer=_CLASSIFIED))
    async def classify(request: Request) -> Any:
        """Rewards as ``data[i].probs``; a body with ``text`` is answered as SGLang does."""
        body, values = await _values(desk, request, PoolingRequest if prefixed else ClassifyRequest)
        if isinstance(body, ClassifyRequest) and body.native:
            return sglang.native_answer(body.native, values)
        rows = [{"label": "LABEL_0", "probs": [value], "num_classes": 1} for value in values]
        return _listed(desk, "classify", body, rows)

    @api.post("/pooling", openapi_extra=described(PoolingRequest, *_EXAMPLES, answer=_POOLED))
    async def pooling(request: Request) -> dict[str, Any]:
        """Rewards as ``data[i].data``."""
        body, values = await _values(desk, request, PoolingRequest)
        write = in_base64 if body.encoding_format == "base64" else list
        return _listed(desk, "pool", body, [{"object": "pooling", "data": write([value])} for value in values])

    async def score(request: Request) -> dict[str, Any]:
        """Rewards of answers to prompts as ``data[i].score``."""
        body, values = await _values(desk, request, ScoreRequest)
        return _listed(desk, "score", body, [{"object": "score", "score": value} for value in values])

    for path in ("/score", "/v1/score") if prefixed else ("/score",):
        api.post(path, openapi_extra=described(ScoreRequest, *_PAIRS, answer=_SCORED))(score)

    @api.post("/v2/rerank", openapi_extra=described(RerankRequest, *_RERANK, answer=_RERANKED))
    @api.post("/v1/rerank", openapi_extra=described(RerankRequest, *_RERANK, answer=_RERANKED))
    @api.post("/rerank", openapi_extra=described(RerankRequest, *_RERANK, answer=_RERANKED))
    async def rerank(request: Request) -> dict[str, Any]:
        """Answers to a prompt, the best first, as ``results[i].relevance_score``."""
        body, values = await _values(desk, request, RerankRequest)
        order = sorted(range(len(values)), key=lambda i: -values[i])
        documents = body.answers()
        results = [
            {"index": i, "document": _document(documents[i]), "relevance_score": values[i]}
            for i in (order[: body.top_n] if body.top_n > 0 else order)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return {"id": _id("rerank", body), "model": desk.service.model, "usage": usage, "results": results}

    return api
