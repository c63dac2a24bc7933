"""Downloads, against a server of our own on this machine."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from vlreward.data.images import load_image
from vlreward.data.limits import MediaLimits
from vlreward.errors import MediaError

ALLOWED = MediaLimits(allow_urls=True, timeout_seconds=60)


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (9, 8, 7)).save(buffer, "PNG")
    return buffer.getvalue()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        what = self.path.strip("/").partition("?")[0]
        if what.startswith("to-"):
            self.send_response(302)
            self.send_header(
                "Location", {"to-png": "/png", "to-ftp": "ftp://x/a", "to-file": "file:///etc/passwd"}[what]
            )
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if what == "gone":
            self.send_error(404)
            return
        body = _png()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if what == "page" else "image/png")
        self.send_header("Content-Length", str({"huge": 10**12, "short": len(body) + 9}.get(what, len(body))))
        self.end_headers()
        try:
            for byte in body:
                self.wfile.write(bytes([byte]))
                if what == "slow":
                    time.sleep(0.5)
        except ConnectionError:
            pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as served:
        served.daemon_threads = True
        thread = threading.Thread(target=served.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["png", "to-png"])
def test_a_picture(server: str, path: str) -> None:
    assert load_image(f"{server}/{path}", ALLOWED).getpixel((0, 0)) == (9, 8, 7)


def test_only_when_allowed(server: str) -> None:
    with pytest.raises(MediaError, match=r"URLs are not fetched unless allowed"):
        load_image(f"{server}/png")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone", "the server answered 404 Not Found"),
        ("page?key=secret", "the server sent text/html, neither a picture nor a video"),
        ("huge", r"1,000,000,000,000 bytes are more than max_bytes \(268,435,456\)"),
        ("short", r"the connection broke 9 bytes before the end"),
        ("to-ftp", r"cannot be fetched \(.*\)"),
        ("to-file", r"the server answered 302 .*"),
    ],
)
def test_what_is_refused(server: str, path: str, message: str) -> None:
    with pytest.raises(MediaError, match=f"^row 3: {server}/{path.partition('?')[0]}: {message}$"):
        load_image(f"{server}/{path}", ALLOWED, "row 3")


def test_a_server_that_drips(server: str) -> None:
    start = time.monotonic()
    with pytest.raises(MediaError, match=r": not complete within 2 s$"):
        load_image(f"{server}/slow", MediaLimits(allow_urls=True, timeout_seconds=2))
    # All of it would take more than half a minute.
    assert time.monotonic() - start < 20


def test_more_than_announced_or_allowed(server: str) -> None:
    with pytest.raises(MediaError, match=r"more than max_bytes \(20\)$"):
        load_image(f"{server}/png", MediaLimits(allow_urls=True, max_bytes=20))


def test_nobody_there() -> None:
    with pytest.raises(MediaError, match=r"^image: http://127.0.0.1:9/a.png: cannot be fetched \(.*\)$"):
        load_image("http://127.0.0.1:9/a.png", ALLOWED)


@pytest.mark.parametrize("url", ["http://", "http://[::1/a.png", "https:///a.png", "http://127.0.0.1:99999/a"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(MediaError, match=rf"^image: {re.escape(url)}: cannot be fetched \("):
        load_image(url, ALLOWED)
