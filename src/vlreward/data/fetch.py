"""Download one picture or video. Only reached when URLs are allowed."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse

from vlreward.errors import MediaError

from .limits import MediaLimits

_CHUNK = 1 << 16
_CONTENT = ("image/", "video/", "application/octet-stream", "binary/octet-stream", "application/mp4")


def _opener() -> urllib.request.OpenerDirector:
    # The usual opener also follows a redirect to ftp and reads file: and data:; this one speaks HTTP only.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    opener.addheaders = [("User-Agent", "vlreward"), ("Accept", "image/*, video/*;q=0.9, */*;q=0.1")]
    return opener


def fetch(url: str, limits: MediaLimits, what: str) -> bytes:
    """The body behind ``url``, an ``http:`` or ``https:`` address.

    Args:
        url: the address; redirects to other HTTP addresses are followed.
        limits: ``timeout_seconds`` and ``max_bytes`` are heeded.
        what: starts every error message.

    Raises:
        MediaError: it cannot be fetched in time, is too large, or is neither a picture nor a video.
    """
    deadline = time.monotonic() + limits.timeout_seconds
    try:
        with _opener().open(url, timeout=limits.timeout_seconds) as response:
            _check_header(response, limits, what)
            return _read_body(response, limits, what, deadline)
    except MediaError:
        raise
    except urllib.error.HTTPError as error:
        with error:
            raise MediaError(f"{what}: the server answered {error.code} {error.reason}") from None
    except TimeoutError:
        raise MediaError(f"{what}: no answer within {limits.timeout_seconds:g} s") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise MediaError(f"{what}: cannot be fetched ({reason})") from None


def _check_header(response: HTTPResponse, limits: MediaLimits, what: str) -> None:
    content = response.headers.get_content_type()
    if response.headers.get("Content-Type") is not None and not content.startswith(_CONTENT):
        raise MediaError(f"{what}: the server sent {content}, neither a picture nor a video")
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) > limits.max_bytes:
        raise MediaError(f"{what}: {int(announced):,} bytes are more than max_bytes ({limits.max_bytes:,})")


def _read_body(response: HTTPResponse, limits: MediaLimits, what: str, deadline: float) -> bytes:
    body = bytearray()
    # read1 returns what has arrived, so that a server that drips bytes meets the deadline too.
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > limits.max_bytes:
            raise MediaError(f"{what}: more than max_bytes ({limits.max_bytes:,})")
        if time.monotonic() > deadline:
            raise MediaError(f"{what}: not complete within {limits.timeout_seconds:g} s")
    if response.length:
        raise MediaError(f"{what}: the connection broke {response.length:,} bytes before the end")
    return bytes(body)
