"""Throughput and latency of ``vlreward serve``: ``python benchmarks/serve.py``.

Against the engine alone on the same groups, and against a plain server that makes one forward pass per conversation
(peers/plain_server.py). Everybody has the same weights, dtype and threads; scores are compared first, and servers that
disagree are not timed. Servers take turns, round after round, with new pictures in each so that nobody answers from a
cache; medians over rounds are reported. Clients run on the same machine, and their work is in the times.

    grouped    a request holds a picture and eight answers; closed loop (the plain server: a request for each)
    staggered  the same eight as requests of their own at random times within five seconds, as rollouts finish
    unrelated  requests of one answer, each with a picture of its own; closed loop
    open       requests as in grouped at random times, at 70 % of the throughput that the closed loop had; ours alone
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from harness import machine
from harness.command import measured
from harness.random_model import write_model
from harness.sizes import BENCH, QUICK
from harness.traffic import Ask, Outcome, Send, arrivals, make_groups, run, stagger

PROJECT = Path(__file__).resolve().parents[1]
RESULT = PROJECT / "benchmarks" / "results" / "serve.json"
PLAIN = PROJECT / "benchmarks" / "peers" / "plain_server.py"
ANSWERS = 8
SPREAD_SECONDS = 5.0
OPEN_SHARE = 0.7
TOLERANCE = 1e-3
"""Most that a score of the plain server may differ from ours. Measured 5e-6 (benchmarks/score.py)."""
WANTED = {"grouped": 3.5, "staggered": 2.5, "unrelated": 1.0}
"""Times the plain server's throughput that the project promises."""
WANTED_OF_ENGINE = 0.85


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model and one round: does it run at all")
    parser.add_argument("--groups", type=int, default=3, help="groups of a round (default 3)")
    parser.add_argument("--rounds", type=int, help="rounds (default 3; 1 with --quick)")
    parser.add_argument("--clients", type=int, default=4, help="clients of the closed loops (default 4)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every contestant")
    parser.add_argument("--folder", type=Path, help="where the random model is made and kept (default: thrown away)")
    parser.add_argument(
        "--out", type=Path, help="result file (default benchmarks/results/serve.json, none for --quick)"
    )
    return parser.parse_args()


@contextlib.contextmanager
def serving(command: list[str], port: int, threads: int, log: Path) -> Iterator[str]:
    """A server that is ready; its address."""
    variables = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file, env=variables) as process:
        try:
            while not _answers(f"{address}/health/ready"):
                if process.poll() is not None:
                    raise RuntimeError(f"{command[1]} ended:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=60)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=30).status_code == 200
    return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def send_ours(address: str) -> Send:
    """Ask our server: one request, however many answers."""

    async def send(client: httpx.AsyncClient, ask: Ask) -> list[float]:
        group = {"messages": ask.messages(ask.uri), "responses": ask.answers}
        answer = await client.post(f"{address}/v1/score", json={"groups": [group]})
        rewards: list[float] = answer.raise_for_status().json()["rewards"][0]
        return rewards

    return send


def send_plain(address: str) -> Send:
    """Ask the plain server: a request for each answer, one after the other."""

    async def send(client: httpx.AsyncClient, ask: Ask) -> list[float]:
        rewards = []
        for text in ask.answers:
            messages = [*ask.messages(ask.uri), {"role": "assistant", "content": text}]
            answer = await client.post(f"{address}/score", json={"messages": messages})
            rewards.append(float(answer.raise_for_status().json()["reward"]))
        return rewards

    return send


class Race:
    """The contestants, and what each traffic has shown of them."""

    def __init__(self, arguments: argparse.Namespace, model: Path, addresses: dict[str, str], side: int) -> None:
        from vlreward import LocalEngine, RewardModel

        self._arguments, self._addresses, self._side = arguments, addresses, side
        self._engine = LocalEngine(RewardModel.from_pretrained(model, dtype="float32", device="cpu"))
        self.figures: dict[str, dict[str, list[dict[str, float]]]] = {}

    def ask(self, name: str, asks: list[Ask]) -> Outcome:
        """Let a server answer requests."""
        send = (send_ours if name == "ours" else send_plain)(self._addresses[name])
        return run(asks, send, clients=self._arguments.clients)

    def offline(self, asks: list[Ask]) -> Outcome:
        """The engine alone: all groups in one call."""
        from vlreward import Group

        groups = [Group(ask.messages(ask.picture), ask.answers) for ask in asks]
        began = time.perf_counter()
        rewards = [list(reward.rewards) for reward in self._engine.score(groups)]
        seconds = time.perf_counter() - began
        return Outcome(seconds=seconds, latencies=[seconds], rewards=rewards)

    def check(self) -> float:
        """The largest difference between scores.

        Raises:
            SystemExit: it is too large: the servers do not compute the same.
        """
        asks = make_groups(2, 2, self._side, seed=99)
        expected = self.offline(asks).rewards
        worst = 0.0
        for name in self._addresses:
            for found, wanted in zip(self.ask(name, asks).rewards, expected, strict=True):
                worst = max(worst, *(abs(a - b) for a, b in zip(found, wanted, strict=True)))
        if not worst <= TOLERANCE:
            raise SystemExit(f"not timed: scores differ by {worst:.1e}; {TOLERANCE} is allowed")
        return worst

    def round(self, number: int) -> None:
        """Every traffic once, by everybody."""
        seed, count = 10 * number, self._arguments.groups
        grouped = make_groups(count, ANSWERS, self._side, seed)
        self._note("grouped", "engine alone", self.offline(grouped))
        staggered = stagger(make_groups(count, ANSWERS, self._side, seed + 1), SPREAD_SECONDS, seed)
        unrelated = make_groups(2 * count, 1, self._side, seed + 2)
        for traffic, asks in (("grouped", grouped), ("staggered", staggered), ("unrelated", unrelated)):
            # Who begins changes, so that a slow moment of the machine is nobody's.
            for name in sorted(self._addresses, reverse=number % 2 == 1):
                self._note(traffic, name, self.ask(name, asks))
        answers_per_second = self.figures["grouped"]["ours"][-1]["answers_per_second"]
        fresh = make_groups(2 * count, ANSWERS, self._side, seed + 3)
        timed = arrivals(fresh, OPEN_SHARE * answers_per_second / ANSWERS, seed)
        self._note("open", "ours", self.ask("ours", timed))

    def _note(self, traffic: str, name: str, outcome: Outcome) -> None:
        figures = outcome.figures()
        self.figures.setdefault(traffic, {}).setdefault(name, []).append(figures)
        print(f"  {traffic:10} {name:13} {figures['answers_per_second']:8.2f} answers/s", flush=True)

    def medians(self) -> dict[str, dict[str, dict[str, float]]]:
        """The median over rounds of every figure."""
        return {
            traffic: {
                name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
                for name, rounds in by_name.items()
            }
            for traffic, by_name in self.figures.items()
        }


def ratios(medians: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Our throughput over the plain server's by traffic, and over the engine's alone."""
    rate = {t: {n: figures["answers_per_second"] for n, figures in by.items()} for t, by in medians.items()}
    found = {f"{traffic}: times plain": round(rate[traffic]["ours"] / rate[traffic]["plain"], 3) for traffic in WANTED}
    return found | {"grouped: of the engine alone": round(rate["grouped"]["ours"] / rate["grouped"]["engine alone"], 3)}


def metrics_of(address: str) -> dict[str, float]:
    """What our server says of itself."""
    names = (
        "shared_token_ratio",
        "vision_hits_total",
        "vision_misses_total",
        "prefix_hits_total",
        "computed_tokens_total",
    )
    rows = dict(line.rsplit(" ", 1) for line in httpx.get(f"{address}/metrics").text.splitlines() if line[:1] != "#")
    return {name: float(rows[f"vlreward_{name}"]) for name in names if f"vlreward_{name}" in rows}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything: the model, the servers, the rounds."""
    import torch

    torch.set_num_threads(arguments.threads)
    size, side = (QUICK, 112) if arguments.quick else (BENCH, 896)
    model = folder / "model"
    if not (model / "preprocessor_config.json").is_file():
        write_model(model, size, form="sequence-classification")
    ports = {"ours": free_port(), "plain": free_port()}
    ours = ["-m", "vlreward.cli", "serve", "--model", str(model), "--dtype", "float32", "--port", str(ports["ours"])]
    commands = {"ours": ours, "plain": [str(PLAIN), str(model), str(ports["plain"])]}
    with contextlib.ExitStack() as stack:
        addresses = {
            name: stack.enter_context(
                serving([sys.executable, *command], ports[name], arguments.threads, folder / f"{name}.log")
            )
            for name, command in commands.items()
        }
        race = Race(arguments, model, addresses, side)
        difference = race.check()
        for number in range(arguments.rounds or (1 if arguments.quick else 3)):
            print(f"round {number + 1}", flush=True)
            race.round(number)
        seen = metrics_of(addresses["ours"])
    medians = race.medians()
    return {
        "what": "benchmarks/serve.py",
        "machine": machine.describe(),
        "model": size.config() if not arguments.quick else "quick",
        "settings": {"groups": arguments.groups, "answers": ANSWERS, "clients": arguments.clients, "side": side},
        "largest_difference": difference,
        "medians": medians,
        "rounds": race.figures,
        "ratios": ratios(medians),
        "metrics": seen,
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{'traffic':10} {'who':13} {'answers/s':>10} {'p50 s':>8} {'p99 s':>8}"]
    for traffic, by_name in result["medians"].items():
        for name, one in by_name.items():
            rate, middle, late = (one[key] for key in ("answers_per_second", "p50_seconds", "p99_seconds"))
            lines.append(f"{traffic:10} {name:13} {rate:10.2f} {middle:8.2f} {late:8.2f}")
    wanted = {f"{name}: times plain": least for name, least in WANTED.items()}
    wanted["grouped: of the engine alone"] = WANTED_OF_ENGINE
    lines += [f"{name}: {value:.2f} (wanted {wanted[name]})" for name, value in result["ratios"].items()]
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table, write the result."""
    arguments = parse()
    return measured(arguments, RESULT, lambda folder: measure(arguments, folder), table)


if __name__ == "__main__":
    sys.exit(main())
