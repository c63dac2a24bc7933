"""Pictures and videos by address: from hosts that the operator allows, and never from this machine or its network."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from vlreward.errors import ConfigError, require

from .refusals import Refusal

if TYPE_CHECKING:
    import httpcore

_IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_CONTENT = ("image/", "video/", "application/octet-stream", "binary/octet-stream")
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:\*\.)?[a-z0-9._-]+(?::\d{1,5})?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HEADERS = ((b"Accept", b"image/*, video/*;q=0.9"), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"vlreward"))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's: not private, loopback, link-local, multicast or reserved, nor an
    IPv6 address that stands for such an IPv4 one."""
    ip: _IP = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local)


@dataclass(frozen=True)
class _Target:
    """An address, taken apart once: what is checked is what is asked."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def place(self) -> str:
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.place}{self.path}"


class Addresses:
    """Fetches what stands behind an address, if its host is on the list.

    The name of a host is resolved once, its addresses are looked at, and the connection goes to the one that was looked
    at: a name that says something else a moment later gets nowhere. Every redirect is looked at like the first address.

    Args:
        hosts: names such as ``images.example.org``, ``*.example.org`` (what is below it), or ``example.org:8443``
            (another port than the usual one).
        max_bytes: of a body.
        seconds: for one address, redirects included.
        redirects: how many are followed.
        at_once: how many are fetched at one time.

    Raises:
        ConfigError: a host is not written so.
        MissingDependency: httpx is not installed.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        max_bytes: int = 64 * 2**20,
        seconds: float = 10.0,
        redirects: int = 3,
        at_once: int = 16,
    ) -> None:
        require("httpcore", extra="serve", purpose="fetching pictures")
        self._hosts = frozenset(host.lower() for host in hosts)
        for host in self._hosts:
            if not _HOST.fullmatch(host):
                raise ConfigError(f"{host!r}: expected a host such as images.example.org, *.example.org or host:8443")
        self._max_bytes, self._seconds, self._redirects = max_bytes, seconds, redirects
        self._turns = asyncio.Semaphore(at_once)

    async def fetch(self, url: str, where: str) -> bytes:
        """The body behind an address.

        Args:
            url: an ``http:`` or ``https:`` address.
            where: what a refusal is about.

        Raises:
            Refusal: it is not fetched from here, or cannot be; addresses that were tried are not told.
        """
        import httpcore

        try:
            async with self._turns, asyncio.timeout(self._seconds):
                return await self._follow(url, where)
        except TimeoutError:
            raise Refusal("bad_request", f"the address did not answer in {self._seconds:g} s", where=where) from None
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
            raise Refusal("bad_request", "the address cannot be fetched", where=where) from None

    async def _follow(self, url: str, where: str) -> bytes:
        for _ in range(self._redirects + 1):
            target = self._allowed(url, where)
            answer = await self._get(target, where)
            if isinstance(answer, bytes):
                return answer
            url = urljoin(target.url, answer.location)
        raise Refusal("bad_request", f"more than {self._redirects} redirects", where=where)

    def _allowed(self, url: str, where: str) -> _Target:
        """The address taken apart, if it is on the list."""
        target = _parse(url)
        if target is not None:
            names = {target.place}
            if target.place == target.host:
                labels = target.host.split(".")
                names |= {"*." + ".".join(labels[i:]) for i in range(1, len(labels))}
            if names & self._hosts:
                return target
        raise Refusal("bad_request", "this address is not fetched here; send the bytes", where=where)

    async def _get(self, target: _Target, where: str) -> bytes | _Moved:
        import httpcore

        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        headers = [(b"Host", target.place.encode()), *_HEADERS]
        # A pool for one request: nobody else's connection is used again, and there is nothing to close later.
        async with (
            httpcore.AsyncConnectionPool(network_backend=_backend(where)) as pool,
            pool.stream("GET", url, headers=headers) as response,
        ):
            if response.status in _REDIRECTS:
                return _Moved(_header(response, b"location"))
            if response.status != 200:
                raise Refusal("bad_request", f"the address answered {response.status}", where=where)
            content = _header(response, b"content-type").lower()
            if content and not content.startswith(_CONTENT):
                raise Refusal("bad_request", "the address holds neither a picture nor a video", where=where)
            body = bytearray()
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > self._max_bytes:
                    raise Refusal("too_large", f"more than {self._max_bytes:,} bytes", where=where)
            return bytes(body)


@dataclass(frozen=True)
class _Moved:
    location: str


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


def _parse(url: str) -> _Target | None:
    """None for what is not a plain address: another scheme, a user name, white space, a backslash."""
    if re.search(r"[\s\\\x00-\x1f\x7f]", url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".").encode("idna").decode()
    except ValueError:  # a UnicodeError is one
        return None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or "@" in parts.netloc or not re.fullmatch(r"[a-z0-9._-]+", host):
        return None
    path = quote(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", safe="/?%:@!$&'()*+,;=~")
    return _Target(scheme, host, port or _PORTS[scheme], path)


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _backend(where: str) -> httpcore.AsyncNetworkBackend:
    """Connections to public addresses only, whatever name they are asked for by."""
    import httpcore

    class Public(httpcore.AnyIOBackend):
        async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
            addresses = await _resolve(host, port)
            if not addresses or not all(map(is_public, addresses)):
                raise Refusal("bad_request", "this address is not fetched here; send the bytes", where=where)
            # TLS still asks for the certificate of the name: it is the pool that knows it.
            return await super().connect_tcp(addresses[0], port, *args, **options)

    return Public()
