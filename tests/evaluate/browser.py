"""A page in headless Chromium, by WebDriver: what it asks for, what it complains of, and how it looks.

As a program: ``python -m tests.evaluate.browser report.html FOLDER`` writes screenshots, laptop and phone, light
and dark.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
SIZES = {"laptop": (1280, 800), "phone": (390, 844)}


@dataclass
class Browser:
    """One session of chromedriver."""

    address: str

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def command(self, name: str, **params: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.ask("/goog/cdp/execute", {"cmd": name, "params": params})

    def run(self, script: str) -> Any:
        return self.ask("/execute/sync", {"script": script, "args": []})

    def show(self, page: Path, width: int, height: int, scheme: str) -> None:
        phone = width < 600
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("/url", {"url": page.resolve().as_uri()})

    def complaints(self) -> list[str]:
        """Of the console, since it was last asked."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.ask("/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that a file asked for, since it was last asked; not those that the browser itself shows."""
        messages = [json.loads(entry["message"])["message"] for entry in self.ask("/se/log", {"type": "performance"})]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent" and message["params"]["documentURL"].startswith("file:")
        ]

    def screenshot(self, path: Path) -> None:
        """The whole page, from top to end."""
        picture = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that is gone afterwards."""
    assert CHROMIUM
    assert DRIVER
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="vlreward-browser-") as profile:
        driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address)
            options = {"binary": CHROMIUM, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            begun = Browser(address).ask("/session", {"capabilities": {"alwaysMatch": wanted}})
            session = Browser(f"{address}/session/{begun['sessionId']}")
            try:
                yield session
            finally:
                request = urllib.request.Request(session.address, method="DELETE")
                urllib.request.urlopen(request, timeout=60).close()
        finally:
            driver.terminate()
            driver.wait(30)


def _wait(address: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{address}/status", timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("chromedriver does not answer")


def main(page: str, folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with browser() as session:
        for name, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                session.show(Path(page), width, height, scheme)
                size = session.command("Page.getLayoutMetrics")["cssContentSize"]
                sys.stdout.write(f"{name} {scheme}: {size['width']} x {size['height']} {session.complaints()}\n")
                session.screenshot(Path(folder) / f"{name}-{scheme}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
