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
from typing import Any, Literal

import httpx

from vlreward.data.chat import chat_messages
from vlreward.data.limits import DEFAULT_LIMITS
from vlreward.data.sources import read_bytes
from vlreward.data.writing import media_type
from vlreward.errors import ConfigError, EngineError, InputError, UnsupportedError
from vlreward.types import Group, Image, Message, Reward, Video

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_CONNECT = 10.0


class VllmEngine:
    """Asks one or several vLLM servers with the same model, one request per response.

    The checkpoint has one label. vLLM's own sigmoid is turned off in the words of all its versions. Prompt and response
    go as chat messages, so that vLLM renders them by its chat template, which must be the checkpoint's; pictures go as
    data URIs. Responses of a group go to one server, whose prefix cache knows the prompt. Videos and pixel limits of
    one picture are refused: vLLM samples frames and resizes in ways of its own.

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
        if not timeout > 0 or retries < 0 or requests_at_once < 1:
            raise ConfigError(
                f"timeout {timeout!r}, retries {retries!r}, requests_at_once {requests_at_once!r}: must be positive"
            )
        addresses = [servers] if isinstance(servers, str) else list(servers)
        if not addresses or not all(address.startswith(("http://", "https://")) for address in addresses):
            raise ConfigError(f"{addresses}: not addresses of servers; give one such as http://127.0.0.1:8000")
        self._servers = itertools.cycle([address.rstrip("/") for address in addresses])
        self._model, self._route, self._retries = model, route, retries
        self._turns = asyncio.Semaphore(requests_at_once)
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(timeout, connect=min(_CONNECT, timeout), pool=None),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=httpx.Limits(max_connections=requests_at_once),
        )

    async def describe(self) -> dict[str, Any]:
        """What a server says of its models: the body of ``/v1/models``.

        Raises:
            EngineError: it does not answer.
        """
        reply = await self._asked("GET", f"{next(self._servers)}/v1/models", None, "models")
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
        await self._client.aclose()

    async def _rewards(self, group: Group, index: int) -> Reward:
        where = f"group {group.id!r}" if group.id is not None else f"groups[{index}]"
        server = next(self._servers)
        prompt = await asyncio.to_thread(_messages, group.messages, where)
        try:
            async with asyncio.TaskGroup() as tasks:
                rewards = [
                    tasks.create_task(self._reward(server, prompt, response, f"{where}: responses[{i}]"))
                    for i, response in enumerate(group.responses)
                ]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return Reward(id=group.id, rewards=tuple(reward.result() for reward in rewards))

    async def _reward(self, server: str, prompt: list[Any], response: Sequence[Message], where: str) -> float:
        async with self._turns:
            body = await asyncio.to_thread(self._body, prompt, response, where)
            return self._number(await self._asked("POST", f"{server}/{self._route}", body, where), where)

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
            return float(value)
        except (TypeError, KeyError, IndexError, ValueError):
            raise EngineError(
                f"{where}: vLLM did not answer with one number; a reward model has num_labels 1"
            ) from None

    async def _asked(self, method: str, url: str, body: bytes | None, where: str) -> Any:
        """The JSON of an answer, as often as it takes."""
        problem = ""
        for attempt in range(self._retries + 1):
            if attempt:
                await asyncio.sleep(min(math.ldexp(_FIRST_WAIT, attempt - 1), _LONGEST_WAIT))
            try:
                headers = {"Content-Type": "application/json"} if body is not None else {}
                response = await self._client.request(method, url, content=body, headers=headers)
            except httpx.TransportError as error:
                problem = f"cannot be reached ({error or type(error).__name__})"
                continue
            if response.status_code == 429 or response.status_code >= 500:
                problem = f"answered {response.status_code}"
                continue
            return _json(response, url, where)
        raise EngineError(f"{url}: {problem} (asked {self._retries + 1} times about {where})")


def _json(response: httpx.Response, url: str, where: str) -> Any:
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
