"""What is fetched by address: every attack gets the picture of a server on this machine when its guard is taken out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore
import pytest

from tests.serve.pictures import png
from vlreward.errors import ConfigError
from vlreward.serve import addresses
from vlreward.serve.addresses import Addresses, is_public
from vlreward.serve.refusals import Refusal

PICTURE = png((8, 8), "red")
Patch = pytest.MonkeyPatch


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        kind, status, body = "image/png", 200, PICTURE
        match self.path.partition("?")[0]:
            case "/page":
                kind = "text/html"
            case "/large":
                body = PICTURE + bytes(100_000)
            case "/gone":
                status = 404
            case path if path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", path.removeprefix("/to/"))
                self.end_headers()
                return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        if self.path == "/slow":
            for byte in body[:40]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        else:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def resolving_to(patch: Patch, *answers: list[str]) -> list[str]:
    """Names resolve to these, one answer after the other, the last for good; which names were asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    patch.setattr(addresses, "_resolve", resolve)
    return asked


def fetch(url: str, hosts: list[str], **options: Any) -> bytes:
    return asyncio.run(Addresses(hosts, **options).fetch(url, "groups[0]"))


def refused(url: str, hosts: list[str], **options: Any) -> str:
    with pytest.raises(Refusal) as caught:
        fetch(url, hosts, **options)
    assert caught.value.where == "groups[0]"
    assert "127.0.0.1" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1"),
        *(
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
        ),
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["127.0.0.1", "93.184.216.34"]])
def test_a_name_that_leads_into_this_network(answer: list[str], port: int, monkeypatch: Patch) -> None:
    resolving_to(monkeypatch, answer)
    url, hosts = f"http://cat.example:{port}/cat.png", [f"cat.example:{port}"]
    refused(url, hosts)
    monkeypatch.setattr(addresses, "is_public", lambda address: True)
    assert fetch(url, hosts) == PICTURE


def test_a_name_that_changes_between_check_and_connection(port: int, monkeypatch: Patch) -> None:
    connected: list[str] = []
    connect = httpcore.AnyIOBackend.connect_tcp

    async def watched(self: Any, host: str, port: int, **options: Any) -> Any:
        connected.append(host)
        if host != "127.0.0.1":
            raise httpcore.ConnectError("no such place in a test")
        return await connect(self, host, port, **options)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", watched)
    asked = resolving_to(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    url, hosts = f"http://cat.example:{port}/cat.png", [f"cat.example:{port}"]
    refused(url, hosts)
    assert asked == ["cat.example"], "once"
    assert connected == ["93.184.216.34"], "to what was looked at"

    class CheckedThenNamed(httpcore.AnyIOBackend):
        """Looks at a name, and then connects to the name."""

        async def connect_tcp(self, host: str, port: int, **options: Any) -> Any:
            assert all(map(is_public, await addresses._resolve(host, port)))
            return await super().connect_tcp((await addresses._resolve(host, port))[0], port, **options)

    asked.clear()
    monkeypatch.setattr(addresses, "_backend", lambda where: CheckedThenNamed())
    assert fetch(url, hosts) == PICTURE


@pytest.fixture
def here(monkeypatch: Patch) -> None:
    """This machine counts as the internet."""
    resolving_to(monkeypatch, ["127.0.0.1"])
    monkeypatch.setattr(addresses, "is_public", lambda address: True)


def without_the_list(patch: Patch) -> None:
    def parsed(self: Any, url: str, where: str) -> Any:
        target = addresses._parse(url)
        assert target is not None
        return target

    patch.setattr(Addresses, "_allowed", parsed)


@pytest.mark.usefixtures("here")
class TestOnceConnected:
    def test_it_works(self, port: int) -> None:
        assert fetch(f"http://cat.example:{port}/a%20b?c=d", [f"cat.example:{port}"]) == PICTURE

    def test_a_host_that_is_not_listed(self, port: int, monkeypatch: Patch) -> None:
        for hosts in ([], ["cat.example"], [f"dog.example:{port}"], [f"*.cat.example:{port}"]):
            refused(f"http://cat.example:{port}/", hosts)
        without_the_list(monkeypatch)
        assert fetch(f"http://cat.example:{port}/", []) == PICTURE

    def test_a_redirect_to_a_host_that_is_not_listed(self, port: int, monkeypatch: Patch) -> None:
        url, hosts = f"http://cat.example:{port}/to/http://dog.example:{port}/", [f"cat.example:{port}"]
        refused(url, hosts)
        without_the_list(monkeypatch)
        assert fetch(url, hosts) == PICTURE

    def test_a_redirect_into_this_network(self, port: int, monkeypatch: Patch) -> None:
        asked = resolving_to(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
        monkeypatch.setattr(addresses, "is_public", lambda address: address != "127.0.0.1")
        monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", to_this_machine(httpcore.AnyIOBackend.connect_tcp))
        url, hosts = (
            f"http://cat.example:{port}/to/http://dog.example:{port}/",
            [f"cat.example:{port}", f"dog.example:{port}"],
        )
        assert "not fetched here" in refused(url, hosts)
        assert asked == ["cat.example", "dog.example"]
        monkeypatch.setattr(addresses, "is_public", lambda address: True)
        assert fetch(url, hosts) == PICTURE

    def test_redirects_without_end(self, port: int) -> None:
        hosts, url = [f"cat.example:{port}"], f"http://cat.example:{port}/"
        for _ in range(4):
            url = f"http://cat.example:{port}/to/{url}"
        assert "redirects" in refused(url, hosts)
        assert fetch(url, hosts, redirects=4) == PICTURE

    def test_too_many_bytes(self, port: int) -> None:
        url, hosts = f"http://cat.example:{port}/large", [f"cat.example:{port}"]
        assert "bytes" in refused(url, hosts, max_bytes=10_000)
        assert len(fetch(url, hosts)) > 100_000

    def test_one_byte_after_another(self, port: int) -> None:
        url, hosts = f"http://cat.example:{port}/slow", [f"cat.example:{port}"]
        assert "did not answer" in refused(url, hosts, seconds=0.5)
        assert fetch(url, hosts) == PICTURE[:40]

    def test_what_is_not_a_picture(self, port: int, monkeypatch: Patch) -> None:
        url, hosts = f"http://cat.example:{port}/page", [f"cat.example:{port}"]
        assert "neither a picture" in refused(url, hosts)
        monkeypatch.setattr(addresses, "_CONTENT", ("",))
        assert fetch(url, hosts) == PICTURE

    def test_what_is_not_there(self, port: int) -> None:
        assert "404" in refused(f"http://cat.example:{port}/gone", [f"cat.example:{port}"])


def to_this_machine(connect: Callable[..., Any]) -> Callable[..., Any]:
    async def connect_tcp(self: Any, host: str, port: int, **options: Any) -> Any:
        return await connect(self, "127.0.0.1", port, **options)

    return connect_tcp


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://cat.example/",
            "file:///etc/passwd",
            "http://user@cat.example/",
            "http://cat.example:80:80/",
            "http:///x",
        ),
        *("http://cat.example\\@dog.example/", "http://cat.example /", "http://cat.example\r\nX: y/", "http://[::1]/"),
        *("http://dog.example#@cat.example/", "http://cat.example.dog.example/", "http://dog.example/?cat.example"),
        *("http://2130706433/", "http://cat.example:99999/", "http://cat.example:8080/", "http://xcat.example/"),
    ],
)
def test_addresses_that_pretend(url: str, monkeypatch: Patch) -> None:
    asked = resolving_to(monkeypatch, ["93.184.216.34"])
    refused(url, ["cat.example"])
    assert not asked


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://CAT.example./x", ["cat.example"]),
        ("https://a.b.cat.example/x", ["*.cat.example"]),
        ("http://cat.example:8080/x", ["Cat.Example:8080"]),
    ],
)
def test_addresses_that_are_listed(url: str, hosts: list[str]) -> None:
    assert Addresses(hosts)._allowed(url, "here").path == "/x"


def test_hosts_are_checked() -> None:
    for host in ("http://cat.example", "cat.example/x", "", "*"):
        with pytest.raises(ConfigError, match="expected a host"):
            Addresses([host])
