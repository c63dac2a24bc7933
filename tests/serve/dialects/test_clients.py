"""Trainers' own clients against the dialects: live where they are installed, and what they send, as recorded."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import FakeEngine, fake_reward

from .clients import CLIENTS, PIXEL, RECORDED, app_of_engine, package, samples
from .conftest import Client, EngineService, OpenAdmission, served

ROWS = json.loads(RECORDED.read_text(encoding="utf-8"))
READ = {
    "/get_reward": lambda reply: reply["rewards"][0],
    "/v1/embeddings": lambda reply: reply["data"][-1]["embedding"],
    "/v1/classify": lambda reply: reply["data"][-1]["probs"][-1],
}


@pytest.fixture
def service() -> EngineService:
    return EngineService(FakeEngine())


def test_every_client_and_sample_was_recorded() -> None:
    assert {(row["client"], row["sample"]) for row in ROWS} == {(c, s) for c in CLIENTS for s in samples("")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['client']}, {row['sample']}")
def test_what_clients_send_is_understood(row: dict[str, Any], client: Client, admission: OpenAdmission) -> None:
    sample = samples(admission.put(PIXEL))[row["sample"]]
    reward = READ[row["path"]](client.ok(row["path"], row["body"]))
    if isinstance(reward, str):  # as base64, which OpenAI's client decodes
        assert row["body"]["encoding_format"] == "base64"
        return
    assert reward == pytest.approx(fake_reward(sample.group, 0))


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str]]:
    admission = OpenAdmission()
    with served(app_of_engine(FakeEngine(), admission)) as address:
        yield address, admission.put(PIXEL)


@pytest.mark.parametrize("title", samples(""))
@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.filterwarnings("default")  # other people's code
def test_clients_get_their_rewards(name: str, title: str, server: tuple[str, str]) -> None:
    if importlib.util.find_spec(package(name)) is None:
        pytest.skip(f"{package(name)} is not installed; clients.py says how")
    address, picture = server
    sample = samples(picture)[title]
    assert CLIENTS[name](address, sample) == pytest.approx(fake_reward(sample.group, 0), abs=1e-5)
