"""Whole servers: many clients at once, faults, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from tests.fakes import fake_reward
from vlreward import Group, LocalEngine, RewardModel
from vlreward.cli import main
from vlreward.cli import serve as cli_serve
from vlreward.cli.parser import build_parser
from vlreward.engines.shaped import Shaping
from vlreward.errors import CheckpointError
from vlreward.serve import run
from vlreward.serve.app import ServerOptions, create_app, over_worker
from vlreward.serve.batching import Batcher, BatchLimits
from vlreward.serve.limits import RequestLimits
from vlreward.serve.model_factory import ModelFactory
from vlreward.serve.run import listen

from .backends import FakeBackend
from .engines import FaultyFactory
from .pictures import data_uri, png
from .test_worker import is_alive, process_of, wait_until

# Measured 1e-6 on the random checkpoint.
TOLERANCE = 1e-5


def body(text: str, *responses: str) -> dict[str, Any]:
    return {"groups": [{"messages": text, "responses": responses or ["A", "B"]}]}


@contextlib.contextmanager
def server(seconds: float = 0.0, limits: RequestLimits | None = None, **batching: Any) -> Iterator[tuple[str, Batcher]]:
    """A server in a thread, whose worker has a fake engine."""
    limits = limits or RequestLimits()
    options = ServerOptions(model="fake", batching=BatchLimits(**batching), requests=limits)
    app = create_app(options, over_worker(FaultyFactory(seconds=seconds), options))
    listening = listen("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        wait_ready(address)
        yield address, app.state.backend
    finally:
        running.should_exit = True
        thread.join()
        listening.close()


def wait_ready(address: str, status: int = 200) -> None:
    def true() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{address}/health/ready", timeout=30).status_code == status
        return False

    wait_until(true, 240)


def ask_all(
    address: str, bodies: list[dict[str, Any]], while_asking: Callable[[], None] = lambda: None
) -> list[httpx.Response]:
    """Ask for each at the same time, on a connection of its own."""

    async def ask_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
            asked = [asyncio.ensure_future(client.post(f"{address}/v1/score", json=content)) for content in bodies]
            await asyncio.to_thread(while_asking)
            return await asyncio.gather(*asked)

    return asyncio.run(ask_them())


def test_a_killed_worker_under_load() -> None:
    with server(max_wait_seconds=0.0, batch_tokens=60) as (address, backend):
        worker = backend._worker
        answers: list[httpx.Response] = []

        def kill() -> None:
            wait_until(lambda: len(backend._waiting) == 40)
            os.kill(process_of(worker), signal.SIGKILL)

        def ask_more() -> None:
            wait_until(lambda: worker._answer is not None)
            answers.extend(ask_all(address, [body(f"Q{i}") for i in range(40)], kill))

        (lost,) = ask_all(address, [body("sleep 600")], ask_more)
        # Only what was in the hands of the worker is lost: the others have waited for the next one.
        assert (lost.status_code, lost.headers["Retry-After"]) == (503, "1")
        assert lost.json()["error"]["code"] == "unavailable"
        for i, answer in enumerate(answers):
            group = Group(f"Q{i}", ["A", "B"])
            assert answer.json()["rewards"] == [[fake_reward(group, 0), fake_reward(group, 1)]]
        assert "vlreward_worker_restarts 1.0" in httpx.get(f"{address}/metrics").text


def test_a_client_that_hangs_up_leaves_the_queue(tmp_path: Path) -> None:
    def metrics(address: str) -> str:
        return httpx.get(f"{address}/metrics", timeout=30).text

    async def ask_and_go(backend: Batcher, address: str) -> None:
        async with httpx.AsyncClient(timeout=120) as client:
            asked = asyncio.ensure_future(client.post(f"{address}/v1/score", json=body("unwanted")))
            await asyncio.to_thread(wait_until, lambda: len(backend._waiting) == 1)
            asked.cancel()
            await asyncio.wait([asked])

    with server(max_wait_seconds=0.0) as (address, backend):

        def hang_up() -> None:
            wait_until(lambda: backend._worker._answer is not None)
            asyncio.run(ask_and_go(backend, address))
            wait_until(lambda: len(backend._waiting) == 0)
            wait_until(lambda: 'vlreward_requests_total{route="/v1/score",status="499"} 1.0' in metrics(address))
            (tmp_path / "go").touch()

        assert ask_all(address, [body(f"hold {tmp_path}/go")], hang_up)[0].status_code == 200
        text = metrics(address)
        assert "vlreward_batch_groups_sum 1.0" in text
        assert "vlreward_shared_token_ratio 0.6" in text


def test_a_client_that_sends_a_byte_at_a_time() -> None:
    """It is told to stop, and holds nobody up."""
    with server(limits=RequestLimits(body_seconds=1.0)) as (address, _):
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
            slow.settimeout(0.05)
            told, others = b"", [answer.status_code for answer in ask_all(address, [body("Q")] * 3)]
            for _ in range(1000):
                slow.sendall(b" ")
                with contextlib.suppress(TimeoutError):
                    told = slow.recv(2000)
                    break
        assert others == [200] * 3
        assert told.startswith(b"HTTP/1.1 400 ")
        assert b"the body took longer than 1 s" in told


_DRAINING = """
import sys
from vlreward.serve.app import ServerOptions, create_app, over_worker
from vlreward.serve.run import listen, serve
from tests.serve.engines import FaultyFactory

if __name__ == "__main__":
    options = ServerOptions(model="fake")
    listening = listen("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    serve(create_app(options, over_worker(FaultyFactory(), options)), listening, drain_seconds=float(sys.argv[1]))
"""


@pytest.mark.parametrize(("drain_seconds", "signals", "status"), [("120", 1, 200), ("0.5", 1, 503), ("120", 2, 503)])
def test_a_server_that_is_told_to_end(
    drain_seconds: str, signals: int, status: int, tmp_path: Path, root: Path
) -> None:
    """It finishes what is there, for a time, or until it is told again, and takes nothing new."""
    script = tmp_path / "server.py"
    script.write_text(_DRAINING)
    command = [sys.executable, str(script), drain_seconds]
    with started(command, root) as (process, lines):
        address = f"http://127.0.0.1:{int(lines.readline())}"
        wait_ready(address)

        def end() -> None:
            wait_until((tmp_path / "go.held").exists)
            process.send_signal(signal.SIGTERM)
            if drain_seconds == "120":
                wait_ready(address, 503)
            if signals == 2:
                process.send_signal(signal.SIGTERM)
            if status == 200:
                refused = httpx.post(f"{address}/v1/score", json=body("new"), timeout=30)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
                (tmp_path / "go").touch()

        answer = ask_all(address, [body(f"hold {tmp_path}/go")], end)[0]
        assert answer.status_code == status
        assert status == 200 or answer.json()["error"]["code"] == "unavailable"
        assert process.wait(timeout=60) == 0
        assert "Traceback" not in lines.read()


@contextlib.contextmanager
def started(command: list[str], root: Path) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A process whose output can be read."""
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            yield process, process.stdout
        finally:
            process.kill()


PICTURES = [png((56, 84), "red"), png((84, 56), "green"), png((112, 112), "blue")]


def mixed_groups(seed: int) -> list[Group]:
    """What one of many clients asks for: groups with and without pictures, few prompts between all of them."""
    choose = random.Random(seed)
    groups = []
    for _ in range(choose.randint(1, 3)):
        pictures = [{"type": "image", "image": picture} for picture in choose.sample(PICTURES, choose.randint(0, 2))]
        parts = [*pictures, {"type": "text", "text": choose.choice(["What is it?", "How many are there?"])}]
        answers = [f"It is {choose.randint(1, 30)}, I think." for _ in range(choose.randint(1, 4))]
        groups.append(Group([{"role": "user", "content": parts}], answers))
    return groups


def written(groups: list[Group]) -> dict[str, Any]:
    """Groups as a request."""

    def part(old: Any) -> dict[str, Any]:
        return (
            {"type": "text", "text": old.text}
            if hasattr(old, "text")
            else {"type": "image", "image": data_uri(old.source)}
        )

    return {
        "groups": [
            {
                "messages": [{"role": "user", "content": [part(old) for old in group.messages[0].parts]}],
                "responses": [response[0].content for response in group.responses],
            }
            for group in groups
        ]
    }


@pytest.mark.slow
def test_64_clients_get_the_scores_of_the_engine_alone(checkpoint: Callable[..., Path], root: Path) -> None:
    folder = checkpoint()
    command = [
        sys.executable,
        "-m",
        "vlreward.cli",
        "serve",
        "--model",
        str(folder),
        "--port",
        "0",
        "--dtype",
        "float32",
    ]
    asked = [mixed_groups(seed) for seed in range(64)]
    with started(command, root) as (process, lines):
        first = lines.readline()
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", first)
        assert found, first
        wait_ready(found[1])
        answers = ask_all(found[1], [written(groups) for groups in asked])
        engine = LocalEngine(RewardModel.from_pretrained(folder, dtype="float32", device="cpu"))
        for groups, answer in zip(asked, answers, strict=True):
            assert answer.status_code == 200, answer.text
            for rewards, alone in zip(answer.json()["rewards"], engine.score(groups), strict=True):
                assert rewards == pytest.approx(alone.rewards, abs=TOLERANCE)
        shared = re.search(r"^vlreward_shared_token_ratio (\S+)", httpx.get(f"{found[1]}/metrics").text, re.MULTILINE)
        assert shared
        assert float(shared[1]) > 0.5
        model = httpx.get(f"{found[1]}/v1/models").json()["data"][0]
        assert model["id"] == folder.name
        assert str(folder) not in str(model)
        broken = written([Group([{"role": "user", "content": [{"type": "image", "image": PICTURES[0][:-30]}]}], ["A"])])
        refused = httpx.post(f"{found[1]}/v1/score", json=broken, timeout=60)
        assert (refused.status_code, refused.json()["error"]["where"]) == (400, "groups[0].responses[0]")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_strangers_need_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.1", "example.com"):
        assert main(["serve", "--model", str(tmp_path), "--host", host, "--port", "0"]) == 2
        assert "name a file of keys with --api-keys" in capsys.readouterr().err
    assert build_parser()[0].parse_args(["serve", "--model", "m"]).host == "127.0.0.1"
    monkeypatch.setattr(run, "_is_loopback", lambda host: True)
    run.check_host("0.0.0.0", ServerOptions(model="m"))  # without the guard


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--backend", "http://far", "--model", "m"], "--model is for a model loaded here; --backend has its own"),
        (["--backend", "http://far", "--dtype", "float32"], "--dtype is for a model loaded here; --backend has"),
        (["--backend", "http://far", "--batch-tokens", "9"], "--batch-tokens is for a model loaded here; --backend"),
        (["--model", "m", "--calibration", "c.json"], "--calibration is for --backend"),
        (["--model", "m", "--backend-key", "k.txt"], "--backend-key is for --backend"),
    ],
)
def test_options_that_would_be_passed_over(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *argv]) == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_rewards_are_shaped_where_the_command_line_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def options(*argv: str) -> ServerOptions:
        return cli_serve._server_options(build_parser()[0].parse_args(["serve", *argv]), "m")

    for source in (["--model", "m"], ["--backend", "http://far"]):
        plain, shaped = options(*source), options(*source, "--normalise", "--clip", "3", "--squash", "tanh")
        assert (plain.shaping, plain.normalise) == (Shaping(), False)
        assert (shaped.shaping, shaped.normalise) == (Shaping(clip=3.0, squash="tanh"), True)
    assert main(["serve", "--backend", "http://far", "--normalise"]) == 2
    assert "name the calibration.json of its model with --calibration" in capsys.readouterr().err
    monkeypatch.setattr(RewardModel, "from_pretrained", lambda path: SimpleNamespace(calibration=None))
    with pytest.raises(CheckpointError, match=r"^m: no calibration\.json to normalise rewards by; make one with"):
        ModelFactory(path="m", normalise=True)()


def test_headers_are_read_by_what_bounds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []

    class Server:
        failure = None

        def __init__(self, config: uvicorn.Config, *_: object) -> None:
            found.append(config.http)

        def run(self, sockets: object) -> None:
            pass

    monkeypatch.setattr(run, "_Server", Server)
    app = create_app(ServerOptions(model="m"), lambda metrics: FakeBackend())
    run.serve(app, listen("127.0.0.1", 0), drain_seconds=1.0)
    assert found == ["h11"]


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--model", str(tmp_path), "--port", port]) == 2
        assert f"error: 127.0.0.1:{port}: cannot listen there" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_that_is_not_there(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-m", "vlreward.cli", "serve", "--model", str(tmp_path), "--port", "0", "--quiet"]
    with started(command, root) as (process, lines):
        said = lines.read()
        assert process.wait(timeout=60) == 2
        assert re.fullmatch(r"error: .*\n", said), said
    assert not is_alive(process.pid)


def test_the_process_that_answers_needs_no_torch() -> None:
    code = "import sys, vlreward.serve.app, vlreward.serve.run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
