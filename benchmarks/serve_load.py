"""Whether ``vlreward serve`` holds out, and how long: the load and the figures of docs/serving.md.

    python benchmarks/serve_load.py --minutes 10 --queued 5000    # about a quarter of an hour
    python benchmarks/serve_load.py --page                        # only the page again, from results/serve_load.json

First a mixed load for some minutes: groups with new pictures, single answers to pictures that come again, pictures that
are sent first and named then, text-only rewards in OpenRLHF's protocol, broken requests, and clients that hang up half
way. Memory of the server's processes is looked at every few seconds. Its caches are small, so that they are full after
the first minutes and what grows after that is a leak. Then so many requests at once, each with a connection of its own:
they have to wait, and all have to be answered as they were alone. The figures stand between two markers in
docs/serving.md, so that none is typed by hand.

The model is small (`--model`: any other), since what is tried is the server and not the model.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil

from harness import machine
from harness.traffic import Ask, make_groups
from readme_table import replaced
from serve import PROJECT, free_port, serving

RESULT = PROJECT / "benchmarks" / "results" / "serve_load.json"
PAGE = PROJECT / "docs" / "serving.md"
MARKS = ("<!-- load: written by benchmarks/serve_load.py -->", "<!-- end of load -->")
SIDE = 224
KNOWN = 40
"""Pictures that come again."""
EVERY = 5.0
"""Seconds from one look at memory to the next."""
CLIENTS = 12
TOLERANCE = 1e-5
WANTED_GROWTH = 0.05
OPTIONS = ["--media-cache-mb", "16", "--prefix-cache-mb", "32", "--max-queue", "6000", "--deadline", "900", "--quiet"]
BROKEN: list[tuple[str, bytes]] = [
    ("/v1/score", b"{"),
    ("/v1/score", b'{"groups": [{"messages": [{"role": "user", "content": 3}], "responses": ["a"]}]}'),
    ("/v1/score", b'{"groups": [{"messages": [{"role": "user", "content": [{"type": "image", "image": "x"}]}]}]}'),
    ("/get_reward", b'{"query": 3}'),
    ("/classify", b'{"input": [1, 2, 3]}'),
]


class Load:
    """The clients, and what they were told."""

    def __init__(self, address: str, seed: int = 0) -> None:
        self.address, self.statuses = address, Counter[str]()
        self._known = make_groups(KNOWN, 4, SIDE, seed=1)
        self._random, self._made = random.Random(seed), 0
        self._kinds = {
            "group": (self.group, 6),
            "single": (self.single, 6),
            "named": (self.named, 2),
            "text": (self.text, 4),
            "broken": (self.broken, 2),
            "gone": (self.gone, 1),
        }

    async def keep_asking(self, client: httpx.AsyncClient, until: float) -> None:
        """Ask one thing after another."""
        names, weights = zip(*((name, weight) for name, (_, weight) in self._kinds.items()), strict=True)
        while time.monotonic() < until:
            (name,) = self._random.choices(names, weights)
            status = await self._kinds[name][0](client)
            self.statuses[f"{name} {status}"] += 1

    async def group(self, client: httpx.AsyncClient) -> int:
        """Four answers to a picture that nobody has sent before."""
        self._made += 1
        (ask,) = make_groups(1, 4, SIDE, seed=1000 + self._made)
        return (await self._score(client, ask, ask.uri)).status_code

    async def single(self, client: httpx.AsyncClient) -> int:
        """One answer to a picture that comes again."""
        ask = self._random.choice(self._known)
        return (await self._score(client, self._random.choice(ask.singles()), ask.uri)).status_code

    async def named(self, client: httpx.AsyncClient) -> int:
        """A picture that is sent first, and asked about by its name."""
        ask = self._random.choice(self._known)
        sent = await client.put(f"{self.address}/v1/media", content=ask.picture)
        if sent.status_code != 200:
            return sent.status_code
        return (await self._score(client, ask, sent.json()["id"])).status_code

    async def text(self, client: httpx.AsyncClient) -> int:
        """OpenRLHF's protocol, without a picture."""
        ask = self._random.choice(self._known)
        prompt = f"<|im_start|>user\n{ask.prompt}<|im_end|>\n<|im_start|>assistant\n"
        query = [f"{prompt}{answer}<|im_end|>" for answer in ask.answers]
        body = {"query": query, "prompts": [prompt] * len(query)}
        return (await client.post(f"{self.address}/get_reward", json=body)).status_code

    async def broken(self, client: httpx.AsyncClient) -> int:
        """What cannot be answered."""
        route, body = self._random.choice(BROKEN)
        return (await client.post(f"{self.address}{route}", content=body)).status_code

    async def gone(self, client: httpx.AsyncClient) -> str:
        """A client that hangs up."""
        ask = self._random.choice(self._known)
        with contextlib.suppress(httpx.TimeoutException):
            await client.post(f"{self.address}/v1/score", json=_body(ask, ask.uri), timeout=0.02)
            return "answered"
        return "hung up"

    async def _score(self, client: httpx.AsyncClient, ask: Ask, picture: str) -> httpx.Response:
        return await client.post(f"{self.address}/v1/score", json=_body(ask, picture))


def _body(ask: Ask, picture: str) -> dict[str, Any]:
    return {"groups": [{"messages": ask.messages(picture), "responses": ask.answers}]}


async def mixed(address: str, minutes: float) -> dict[str, Any]:
    """The mixed load, and memory over its time."""
    load, until = Load(address), time.monotonic() + 60 * minutes
    seen: list[int] = []
    async with httpx.AsyncClient(timeout=None) as client:
        asking = asyncio.gather(*(load.keep_asking(client, until) for _ in range(CLIENTS)))
        while time.monotonic() < until:
            await asyncio.sleep(EVERY)
            seen.append(memory())
            print(f"{len(seen) * EVERY:.0f} s: {seen[-1] / 1e6:.0f} MB", file=sys.stderr)
        await asking
    fifth = max(len(seen) // 5, 1)
    early, late = statistics.median(seen[fifth : 2 * fifth]), statistics.median(seen[-fifth:])
    return {
        "minutes": minutes,
        "statuses": dict(sorted(load.statuses.items())),
        "bytes": seen,
        "growth": round(late / early - 1, 4),
    }


def memory() -> int:
    """Bytes that the server's processes hold: those that started from here, in all."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


async def queued(address: str, count: int) -> dict[str, Any]:
    """So many requests at once."""
    asks = [single for ask in make_groups(KNOWN, 4, SIDE, seed=1) for single in ask.singles()]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:

        async def one(ask: Ask) -> tuple[int, float, float]:
            began = time.perf_counter()
            answer = await client.post(f"{address}/v1/score", json=_body(ask, ask.uri))
            reward = answer.json()["rewards"][0][0] if answer.status_code == 200 else float("nan")
            return answer.status_code, reward, time.perf_counter() - began

        alone = [await one(ask) for ask in asks]
        began = time.perf_counter()
        found = await asyncio.gather(*(one(asks[i % len(asks)]) for i in range(count)))
        seconds = time.perf_counter() - began
    differences = [abs(found[i][1] - alone[i % len(asks)][1]) for i in range(count) if found[i][0] == 200]
    return {
        "requests": count,
        "seconds": round(seconds, 1),
        "statuses": dict(Counter(str(status) for status, _, _ in found)),
        "longest_seconds": round(max(took for _, _, took in found), 1),
        "largest_difference": max(differences, default=None),
    }


def main() -> int:
    """Serve, ask, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--queued", type=int, default=5000, metavar="N")
    parser.add_argument("--model", type=Path, help="a checkpoint (default: a small random one)")
    parser.add_argument("--page", action="store_true", help="ask nothing: write the page from the results")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    if args.page:
        write_page(json.loads(RESULT.read_text(encoding="utf-8")))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        model = args.model
        if model is None:
            from vlreward.tiny.random_checkpoint import write_random_checkpoint

            model = write_random_checkpoint(Path(folder) / "model", 0)
        port = free_port()
        command = [sys.executable, "-m", "vlreward.cli", "serve", "--model", str(model), "--port", str(port), *OPTIONS]
        with serving(command, port, 1, Path(folder) / "log.txt") as address:
            result = {
                "what": "benchmarks/serve_load.py",
                "machine": machine.describe(),
                "mixed": asyncio.run(mixed(address, args.minutes)),
                "queued": asyncio.run(queued(address, args.queued)),
            }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = {"mixed": {k: v for k, v in result["mixed"].items() if k != "bytes"}, "queued": result["queued"]}
    print(json.dumps(shown, indent=1))
    if args.out == RESULT:
        write_page(result)
    return 0 if _holds(result) else 1


def write_page(result: dict[str, Any]) -> None:
    """The figures, into the page."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


def written(page: str, result: dict[str, Any]) -> str:
    """The page with these figures."""
    return replaced(page, "\n".join([MARKS[0], "", _figures(result), "", MARKS[1]]), MARKS, PAGE.name)


def _figures(result: dict[str, Any]) -> str:
    """What came out, in words."""
    machine, mixed, queued = result["machine"], result["mixed"], result["queued"]
    sound, broken = _statuses(result)
    lines = [
        f"{mixed['minutes']:g} minutes of {sum(mixed['statuses'].values()):,} mixed requests (groups, singles, named "
        "pictures, OpenRLHF's texts, broken bodies, clients that hang up) changed the memory of the server's processes "
        f"by {100 * mixed['growth']:+.1f} % from the second fifth of the time to the last; {sound['200']:,} of "
        f"{sound.total():,} sound ones got rewards, and {_refused(broken):,} of {broken.total():,} broken ones a 4xx.",
        f"{queued['requests']:,} requests at once, each with a connection of its own, waited up to "
        f"{queued['longest_seconds']:.0f} seconds; {queued['statuses'].get('200', 0):,} got rewards",
    ]
    if queued["largest_difference"] is not None:
        lines[1] += f", {queued['largest_difference']:.0e} at most from those that they get alone"
    measured = f"{machine['processor']}, {machine['cores']} cores, {machine['date']}"
    return f"{' '.join(lines)} (`benchmarks/serve_load.py`, {measured})."


def _statuses(result: dict[str, Any]) -> tuple[Counter[str], Counter[str]]:
    """How often sound requests, and broken ones, were told which status; who hung up is in neither."""
    sound, broken = Counter[str](), Counter[str]()
    for name, count in result["mixed"]["statuses"].items():
        kind, _, status = name.partition(" ")
        if kind != "gone":
            (broken if kind == "broken" else sound)[status] += count
    return sound, broken


def _refused(broken: Counter[str]) -> int:
    """How many were told that the mistake is theirs."""
    return sum(count for status, count in broken.items() if status.startswith("4"))


def _holds(result: dict[str, Any]) -> bool:
    """Whether nothing broke: memory is flat, no request of either part was lost or answered another way."""
    sound, broken = _statuses(result)
    return (
        abs(result["mixed"]["growth"]) <= WANTED_GROWTH
        and set(sound) == {"200"}
        and _refused(broken) == broken.total() > 0
        and result["queued"]["statuses"] == {"200": result["queued"]["requests"]}
        and result["queued"]["largest_difference"] <= TOLERANCE
    )


if __name__ == "__main__":
    sys.exit(main())
