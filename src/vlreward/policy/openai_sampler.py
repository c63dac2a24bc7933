"""Answers of a policy behind a server that speaks OpenAI's chat completions, such as vLLM's, without torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from vlreward.data.chat import chat_messages
from vlreward.data.limits import MediaLimits
from vlreward.data.sources import read_bytes
from vlreward.data.targets import encoded, in_memory
from vlreward.data.writing import source_text
from vlreward.engines.background import Background
from vlreward.engines.servers import Server, Servers, Unavailable
from vlreward.errors import ConfigError, EngineError, InputError, UnsupportedError
from vlreward.types import Image, Video

from .sampling import Prompt, Sampled, SamplingSettings

if TYPE_CHECKING:
    import httpx

_LATER = (408, 409, 429, 500, 502, 503, 504)
"""Answers that another try may change."""
_GO_ON = {"continue_final_message": True, "add_generation_prompt": False}
"""As vLLM's server takes them: the last message is left open."""


class OpenAISampler:
    """A `Sampler` over a server.

    Pictures are sent inside the request, as data URIs. What may change by itself (a busy or restarting server, a
    connection that breaks) is tried again after a wait that doubles, or that the server names.

    The beginning of an answer goes as a last message that is to be left open, as vLLM's server does. One that refuses
    is an error; one that passes over the request begins another answer, which cannot be told from here.

    Args:
        server: the address up to and with ``/v1``.
        model: the server's name of the policy.
        api_key: what the server asks for.
        timeout: seconds for one request.
        retries: how often a request is tried again.
        requests_at_once: prompts that are under way at one time.
        media_limits: what pictures may be.
        transport: another way to reach the server, for tests.

    Raises:
        ConfigError: an argument is wrong.
        MissingDependency: httpx is not installed.
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        retries: int = 8,
        requests_at_once: int = 8,
        media_limits: MediaLimits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if requests_at_once < 1:
            raise ConfigError(f"requests_at_once must be positive, got {requests_at_once!r}")
        self._servers = Servers(server, api_key=api_key, timeout=timeout, retries=retries, transport=transport)
        self._url, self._model = self._servers.all[0].url, model
        self._limits = media_limits or MediaLimits()
        self._background = Background()
        self._threads = ThreadPoolExecutor(requests_at_once, thread_name_prefix="sampling")

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings) -> list[Sampled]:
        """The answers to each prompt, several prompts at a time.

        Raises:
            EngineError: the server cannot be reached, refuses, or answers short.
            ConfigError: the API key is missing or not known.
            MediaError: a picture cannot be read.
            UnsupportedError: a prompt holds a video.
        """
        waiting = [self._threads.submit(self._sampled, prompt, settings) for prompt in prompts]
        try:
            return [future.result() for future in waiting]
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(cancel_futures=True)
        if self._background.is_alive:
            self._background.run(self._servers.close())
            self._background.stop()

    def _sampled(self, prompt: Prompt, settings: SamplingSettings) -> Sampled:
        messages = chat_messages(prompt.messages, lambda part: _data_uri(part, self._limits, prompt.name))
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
        }
        if settings.stop:
            body["stop"] = list(settings.stop)
        if prompt.beginning:
            messages.append({"role": "assistant", "content": prompt.beginning})
            body |= _GO_ON
        answers: list[tuple[str, bool]] = []
        while len(answers) < settings.answers:
            # Some servers give one answer whatever they are asked for; then they are asked again.
            wanted = settings.answers - len(answers)
            seed = (prompt.seed(settings) + len(answers)) % 2**31
            reply = self._ask(body | {"n": wanted, "seed": seed}, prompt.name)
            answers += _choices(reply, f"{self._url}: {prompt.name}")[:wanted]
        return Sampled.of(prompt, answers)

    def _ask(self, body: Mapping[str, Any], name: str) -> Any:
        """The server's answer, as often as it takes."""

        async def ask(server: Server) -> Any:
            content = json.dumps(body).encode()
            response = await self._servers.request(
                server, "POST", "/chat/completions", content=content, content_type="application/json"
            )
            if response.status_code in _LATER:
                raise Unavailable.of(response, f"{server.url}: answered {response.status_code}")
            return _json(response, f"{server.url}: {name}", goes_on=body.keys() >= _GO_ON.keys())

        try:
            return self._background.run(self._servers.tried(ask, name))
        except EngineError as error:
            raise EngineError(f"{error}; what was sampled before is kept") from None


def _json(response: httpx.Response, where: str, *, goes_on: bool) -> Any:
    if response.status_code in (401, 403):
        raise ConfigError(f"{where}: answered {response.status_code}; it wants an API key that it knows")
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code != 200 or not isinstance(body, Mapping):
        said = " ".join(response.text.split())[:200]
        hint = (
            "; it was to go on with a begun answer (continue_final_message), as vLLM's server does" if goes_on else ""
        )
        raise EngineError(f"{where}: answered {response.status_code}: {said or 'nothing'}{hint}")
    return body


def _choices(reply: Mapping[str, Any], where: str) -> list[tuple[str, bool]]:
    """The answers in a reply, each with whether it is finished.

    Raises:
        EngineError: there are none, or one is no text.
    """
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise EngineError(f"{where}: no choices came back; is this a server of chat completions?")
    answers = []
    for choice in choices:
        message = choice.get("message") if isinstance(choice, Mapping) else None
        text = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(text, str):
            raise EngineError(f"{where}: a choice without text came back: {choice!r:.100}")
        answers.append((text, choice.get("finish_reason") != "length"))
    return answers


def _data_uri(part: Image | Video, limits: MediaLimits, where: str) -> str:
    if not isinstance(part, Image):
        raise UnsupportedError(
            f"{where}: a video, which chat completions have no place for; sample with a local policy"
        )
    if part.source is None:
        raise InputError(f"{where}: a picture without a source")
    data = encoded(part.source, where) if in_memory(part.source) else read_bytes(part.source, limits, where)
    return source_text(data, "image", None, where)
