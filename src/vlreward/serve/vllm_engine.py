"""Rewards from a vLLM server that holds a reward model.

It was written against the request and response models of vLLM 0.33 and is tested against a stand-in with the same
fields; vLLM itself needs a GPU that the tests do not have.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from vlreward.data.chat import chat_messages
from vlreward.data.limits import DEFAULT_LIMITS
from vlreward.data.sources import read_bytes
from vlreward.data.writing import media_type
from vlreward.engines.servers import Server, Servers, Unavailable
from vlreward.errors import ConfigError, EngineError, InputError, ScoreError, UnsupportedError
from vlreward.types import Group, Image, Message, Reward, Video

if TYPE_CHECKING:
    import httpx


class VllmEngine:
    """Asks one or several vLLM servers with the same model, one request per response.

    The checkpoint has one label. vLLM's own sigmoid is turned off in the words of all its versions. Prompt and response
    go as chat messages, so that vLLM renders them by its chat template, which must be the checkpoint's; pictures go as
    data URIs. Responses of a group go to one server, whose prefix cache knows the prompt; where it cannot answer,
    another stands in. Videos and pixel limits of one picture are refused: vLLM samples frames and resizes in ways of
    its own.

    Args:
        servers: the address of one, such as ``http://127.0.0.1:8000``, or of several.
        model: what vLLM calls the model; None: its first one.
        route: ``classify``, or ``pooling`` where the server has no other.
        api_key: what the servers ask for.
        timeout: seconds for one request.
        retries: how often a request is tried again that could not be answered.
        requests_at_once: requests that are under way at one time.
        transport: another way to reach the servers, for tests.

    Raises:
        ConfigError: an argument is wrong.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        model: str | None = None,
        route: Literal["classify", "pooling"] = "classify",
        api_key: str | None = None,
        timeout: float = 180.0,
        retries: int = 5,
        requests_at_once: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if requests_at_once < 1:
            raise ConfigError(f"requests_at_once must be positive, got {requests_at_once!r}")
        self._servers = Servers(servers, api_key=api_key, timeout=timeout, retries=retries, transport=transport)
        self._firsts = itertools.cycle(self._servers.all)
        self._model, self._route = model, route
        self._turns = asyncio.Semaphore(requests_at_once)

    async def describe(self) -> dict[str, Any]:
        """What a server says of its models: the body of ``/v1/models``.

        Raises:
            EngineError: it does not answer.
        """
        reply = await self._asked("GET", "/v1/models", None, "models", next(self._firsts))
        if not isinstance(reply, dict):
            raise EngineError("the vLLM server does not say which models it has")
        return reply

    async def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in order.

        Raises:
            InputError: vLLM does not take a group, which is named.
            UnsupportedError: a group holds what vLLM would see otherwise.
            ScoreError: a reward is not a finite number.
            EngineError: no server could answer, or one gave something else than one number.
        """
        if self._model is None:
            self._model = model_card(await self.describe())["id"]
        try:
            async with asyncio.TaskGroup() as tasks:
                rows = [tasks.create_task(self._rewards(group, i)) for i, group in enumerate(groups)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [row.result() for row in rows]

    async def close(self) -> None:
        """Close the connections."""
        await self._servers.close()

    async def _rewards(self, group: Group, index: int) -> Reward:
        where = f"group {group.id!r}" if group.id is not None else f"groups[{index}]"
        first = next(self._firsts)
        prompt = await asyncio.to_thread(_messages, group.messages, where)
        try:
            async with asyncio.TaskGroup() as tasks:
                rewards = [
                    tasks.create_task(self._reward(first, prompt, response, f"{where}: responses[{i}]"))
                    for i, response in enumerate(group.responses)
                ]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return Reward(id=group.id, rewards=tuple(reward.result() for reward in rewards))

    async def _reward(self, first: Server, prompt: list[Any], response: Sequence[Message], where: str) -> float:
        async with self._turns:
            body = await asyncio.to_thread(self._body, prompt, response, where)
            return self._number(await self._asked("POST", f"/{self._route}", body, where, first), where)

    def _body(self, prompt: list[Any], response: Sequence[Message], where: str) -> bytes:
        messages = prompt + _messages(response, where)
        # activation: vLLM before 0.11.2; later versions pass it over.
        asked = {"model": self._model, "messages": messages, "use_activation": False, "activation": False}
        return json.dumps(asked, ensure_ascii=False).encode()

    def _number(self, reply: Any, where: str) -> float:
        """The one number of an answer."""
        try:
            (row,) = reply["data"]
            values = row["probs" if self._route == "classify" else "data"]
            (value,) = values[0] if values and isinstance(values[0], list) else values
            reward = float(value)
        except (TypeError, KeyError, IndexError, ValueError):
            raise EngineError(
                f"{where}: vLLM did not answer with one number; a reward model has num_labels 1"
            ) from None
        if not math.isfinite(reward):
            raise ScoreError(f"{where}: vLLM's reward is {reward}, not a finite number")
        return reward

    async def _asked(self, method: str, path: str, body: bytes | None, where: str, first: Server) -> Any:
        """The JSON of an answer."""

        async def ask(server: Server) -> Any:
            kind = None if body is None else "application/json"
            response = await self._servers.request(server, method, path, content=body, content_type=kind)
            return _json(response, f"{server.url}{path}", where)

        return await self._servers.tried(ask, where, first=first)


def _json(response: httpx.Response, url: str, where: str) -> Any:
    if response.status_code == 429 or response.status_code >= 500:
        raise Unavailable.of(response, f"{url}: answered {response.status_code}")
    try:
        reply = response.json()
    except ValueError:
        raise EngineError(f"{url}: answered {response.status_code}, not in JSON") from None
    if response.is_success:
        return reply
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    message = error.get("message", "") if isinstance(error, dict) else ""
    if response.status_code in (400, 413, 422):
        raise InputError(f"{where}: vLLM does not take it: {message}")
    raise EngineError(f"{url}: answered {response.status_code}: {message}")


def model_card(models: Any) -> dict[str, Any]:
    """The first model of the body of ``/v1/models``.

    Raises:
        EngineError: there is none.
    """
    try:
        card = models["data"][0]
        if isinstance(card["id"], str):
            return dict(card)
    except (TypeError, KeyError, IndexError):
        pass
    raise EngineError("the server does not say which model it has; /v1/models is to list one")


def _messages(messages: Sequence[Message], where: str) -> list[dict[str, Any]]:
    """Messages with pictures as data URIs.

    Raises:
        UnsupportedError: a video, or a picture with pixel limits of its own.
        MediaError: a picture cannot be read.
    """
    return chat_messages(messages, lambda part: _data_uri(part, where))


def _data_uri(part: Image | Video, where: str) -> str:
    if isinstance(part, Video):
        raise UnsupportedError(f"{where}: a video; vLLM samples frames in a way of its own, so send pictures")
    if part.min_pixels is not None or part.max_pixels is not None:
        raise UnsupportedError(f"{where}: a picture with pixel limits of its own; a vLLM server has one for all")
    data = read_bytes(part.source, DEFAULT_LIMITS, where)
    return f"data:{media_type(data[:12], 'image')};base64,{base64.b64encode(data).decode()}"
