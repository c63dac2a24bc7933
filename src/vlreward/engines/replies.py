"""What a server answered: rewards, or an error as one of ours."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, EngineError, InputError, ScoreError
from vlreward.types import Group, Reward

from .servers import BUSY, Unavailable

if TYPE_CHECKING:
    import httpx

_PLACE = re.compile(r"groups\[(\d+)\]")


class Forgotten(Exception):
    """The server does not have the media of these ids."""

    def __init__(self, media: frozenset[str]) -> None:
        super().__init__(f"{len(media)} media are not there")
        self.media = media


class TooLarge(Exception):
    """The request, or one group of it, is more than the server takes."""

    def __init__(self, meant: InputError) -> None:
        super().__init__(str(meant))
        self.meant = meant


def read_reply(response: httpx.Response, server: str, names: Sequence[str]) -> Any:
    """The JSON of an answer.

    Args:
        response: the whole answer.
        server: its address, which starts every error message.
        names: the groups that were asked about.

    Raises:
        Unavailable, Forgotten, TooLarge: what the caller can do something about.
        VLRewardError: what it cannot, by the code of the server's error.
    """
    body = _json(response)
    if response.status_code == 200 and body is not None:
        return body
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        message = f"{server}: answered {response.status_code} {response.reason_phrase}".rstrip()
        if response.status_code in BUSY:
            raise Unavailable.of(response, message)
        if response.status_code == 401:
            raise ConfigError(f"{message}; it wants an API key that it knows")
        if response.status_code == 413:
            raise TooLarge(InputError(message))
        raise EngineError(f"{message}, not as a vlreward server does")
    raise _meant(error, response, server, names)


def _meant(error: Mapping[str, Any], response: httpx.Response, server: str, names: Sequence[str]) -> Exception:
    code = error.get("code")
    # What is wrong with a group is so on every server.
    fault = f"{_place(error.get('where'), names)}{error.get('message')}"
    text = f"{server}: {fault}"
    if code == "unknown_media":
        return Forgotten(frozenset(map(str, error.get("media") or ())))
    if response.status_code in BUSY:
        return Unavailable.of(response, text)
    if code == "too_large":
        return TooLarge(InputError(fault))
    if code in ("bad_request", "unscorable"):
        return InputError(fault) if code == "bad_request" else ScoreError(fault)
    return ConfigError(text) if code == "unauthorized" else EngineError(text)


def _place(where: Any, names: Sequence[str]) -> str:
    """Where an error is, with the group's name for its place in the request."""
    if not isinstance(where, str) or not where:
        return ""
    found = _PLACE.match(where)
    if found and int(found[1]) < len(names):
        where = f"group {names[int(found[1])]!r}{where[found.end() :]}"
    elif len(names) == 1:
        where = f"group {names[0]!r}: {where}"
    return f"{where}: "


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def rewards_of(reply: Any, server: str, groups: Sequence[Group], names: Sequence[str]) -> list[Reward]:
    """The rewards that an answer holds.

    Raises:
        EngineError: they are not one finite number per response of each group.
    """
    rows = reply.get("rewards") if isinstance(reply, Mapping) else None
    if not isinstance(rows, list) or len(rows) != len(groups):
        count = len(rows) if isinstance(rows, list) else "no"
        raise EngineError(f"{server}: {count} rewards came back for {len(groups)} groups")
    for row, group, name in zip(rows, groups, names, strict=True):
        if not isinstance(row, list) or len(row) != len(group) or not all(map(_is_finite, row)):
            count = len(row) if isinstance(row, list) else "no"
            raise EngineError(f"{server}: group {name!r}: {count} rewards came back for {len(group)} responses")
    return [Reward(id=group.id, rewards=tuple(map(float, row))) for row, group in zip(rows, groups, strict=True)]


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
