"""Answers of a policy in a file: what is written, kept when it stops, and scored and paired from there."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeModel
from tests.policy.test_openai_sampler import Server, answers
from tests.serve.pictures import png
from vlreward import Group, RewardModel
from vlreward.cli import main, policy_options, served
from vlreward.data.groups import read_groups
from vlreward.data.marks import media_of
from vlreward.engines import servers
from vlreward.engines.remote import RemoteEngine
from vlreward.errors import EngineError
from vlreward.policy.openai_sampler import OpenAISampler
from vlreward.policy.sampling import Prompt, Sampled, SamplingSettings
from vlreward.tiny import tokenizer

from .conftest import rows_of
from .test_file_run import Stop, record_of
from .test_served import Served

Write = Callable[..., Path]
Sample = Callable[..., tuple[int, str]]


class FakeSampler:
    """Answers that depend on the prompt's own seed alone; the last one of each prompt is cut off."""

    def __init__(self, stop_after: int | None = None, error: BaseException | None = None) -> None:
        self.prompts: list[str | None] = []
        self.closed = 0
        self._stop_after, self._error = stop_after, error

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings) -> list[Sampled]:
        if self._error is not None and len(self.prompts) == self._stop_after:
            raise self._error
        self.prompts += [prompt.id for prompt in prompts]
        return [
            Sampled.of(
                prompt,
                [(f"{(prompt.seed(settings) >> i) % 9}", i < settings.answers - 1) for i in range(settings.answers)],
            )
            for prompt in prompts
        ]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> FakeSampler:
    """The policy that every verb gets."""
    sampler = FakeSampler()
    monkeypatch.setattr(policy_options, "load_sampler", lambda options: sampler)
    return sampler


@pytest.fixture
def prompts(write_rows: Write) -> Path:
    return write_rows([{"id": f"q{i}", "messages": f"What is {i}?", "answer": str(i % 9)} for i in range(20)])


@pytest.fixture
def sample(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Sample:
    """Samples for a file; the exit code and what stderr says."""

    def run(source: Path, name: str = "sampled.jsonl", *options: str) -> tuple[int, str]:
        code = main(["sample", "--policy", str(model_folder), str(source), "-o", str(tmp_path / name), *options])
        return code, capsys.readouterr().err

    return run


def test_rows_are_groups_with_the_unfinished_marked(
    sample: Sample, sampler: FakeSampler, prompts: Path, tmp_path: Path
) -> None:
    assert sample(prompts, "sampled.jsonl", "-n", "3") == (0, "")
    rows = rows_of(tmp_path / "sampled.jsonl")
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(20)]
    assert all(row["unfinished"] == [2] and len(row["responses"]) == 3 for row in rows)
    groups = list(read_groups(tmp_path / "sampled.jsonl"))
    assert str(groups[3].messages[0].content) == "What is 3?"
    record = record_of(tmp_path / "sampled.jsonl")
    assert record["responses"] == 60
    assert record["complete"]
    assert record["config"]["sampling"]["answers"] == 3
    sampler.prompts.clear()
    assert sample(prompts, "sampled.jsonl", "-n", "3")[0] == 0
    assert sampler.prompts == []


@pytest.mark.parametrize("error", [Stop(), KeyboardInterrupt(), EngineError("gone; what was sampled before is kept")])
def test_going_on_after_a_stop_gives_the_same_bytes(
    sample: Sample, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def use(sampler: FakeSampler) -> FakeSampler:
        monkeypatch.setattr(policy_options, "load_sampler", lambda options: sampler)
        return sampler

    use(FakeSampler())
    sample(prompts, "whole.jsonl")
    use(FakeSampler(16, error))
    if isinstance(error, Stop):
        with pytest.raises(Stop):
            sample(prompts)
    else:
        code, said = sample(prompts)
        assert code == (2 if isinstance(error, EngineError) else 130)
        assert said.count("\n") == 1
    assert len(rows_of(tmp_path / "sampled.jsonl")) == 16
    rest = use(FakeSampler())
    assert sample(prompts)[0] == 0
    assert rest.prompts == [f"q{i}" for i in range(16, 20)]
    assert (tmp_path / "sampled.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_server_that_goes_away_leaves_what_was_sampled(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    httpx = pytest.importorskip("httpx")
    monkeypatch.setattr(servers, "_wait", lambda attempt, retry_after: 0.0)

    def serve(served: int) -> Server:
        server = Server(*[answers] * served, *([] if served > 20 else [lambda _: httpx.Response(503)]))
        transport = httpx.MockTransport(server)
        real = OpenAISampler
        monkeypatch.setattr(
            policy_options,
            "load_sampler",
            lambda o: real(o.server, o.policy, transport=transport, retries=2, requests_at_once=1),
        )
        return server

    output = tmp_path / "sampled.jsonl"
    command = ["sample", "--policy", "p", "--server", "http://policy/v1", str(prompts), "-o", str(output), "-n", "2"]
    serve(12)
    assert main([*command, "--chunk", "4"]) == 2
    error = capsys.readouterr().err
    assert "answered 503" in error
    assert "3 times); what was sampled before is kept" in error
    assert len(rows_of(output)) == 12
    server = serve(21)
    assert main([*command, "--chunk", "4"]) == 0
    assert len(server.asked) == 8
    assert [row["id"] for row in rows_of(output)] == [f"q{i}" for i in range(20)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--temperature", "0.5"], "begun with sampling.temperature 1.0, now 0.5"),
        (["--seed", "1"], "begun with sampling.seed 0, now 1"),
        (["--server", "http://s/v1"], "begun with policy "),
    ],
)
def test_other_answers_are_not_mixed_in(
    sample: Sample, sampler: FakeSampler, prompts: Path, options: list[str], said: str
) -> None:
    sample(prompts)
    code, error = sample(prompts, "sampled.jsonl", *options)
    assert code == 2
    assert said in error


def test_mistakes_are_said_before_a_policy_is_loaded(sample: Sample, write_rows: Write, prompts: Path) -> None:
    assert "answers are written as JSON lines; name it .jsonl" in sample(prompts, "sampled.parquet")[1]
    assert "temperature must not be below 0" in sample(prompts, "sampled.jsonl", "-t", "-1")[1]
    broken = write_rows([{"messages": "Q"}, {"mesages": "Q"}], "broken.jsonl")
    assert f"{broken}:2: unknown key 'mesages'" in sample(broken)[1]
    assert "is the input" in sample(broken, "broken.jsonl")[1]


def test_from_prompts_to_pairs(
    sample: Sample,
    sampler: FakeSampler,
    fake_model: FakeModel,
    prompts: Path,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sampled, scored, pairs = (str(tmp_path / f"{name}.jsonl") for name in ("sampled", "scored", "pairs"))
    sample(prompts)
    assert main(["score", "--model", str(model_folder), sampled, "-o", scored, "-q"]) == 0
    capsys.readouterr()
    command = ["pairs", sampled, "--rewards", scored, "-o", pairs]
    assert main([*command, "--top", "2", "--bottom", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = rows_of(Path(pairs))
    assert report["pairs"] == len(rows) > 20
    assert all(row["margin"] > 0 for row in rows)
    assert main(command) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*command, "--answers", str(prompts), "--overwrite"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = rows_of(Path(pairs))
    assert report["with_key"] == 20
    assert report["by_key"] == len(rows) > 0
    keys = {row["id"]: row["answer"] for row in rows_of(prompts)}
    for row in rows:
        key = keys[row["id"].split("/")[0]]
        assert text_of(row["chosen"]) == key != text_of(row["rejected"])


def text_of(side: Any) -> str:
    return str(side[-1]["content"])


def test_pairs_of_other_rewards_are_refused(
    write_rows: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = write_rows(3)
    output = str(tmp_path / "pairs.jsonl")
    for rewards, said in [
        ([{"id": "g1", "rewards": [1, 2, 3]}], f"{groups}:1: not the group"),
        ([{"id": f"g{i}", "rewards": [1, 2]} for i in range(3)], f"{groups}:1: not the group"),
        ([{"id": f"g{i}", "rewards": [1, 2, 3]} for i in range(2)], f"{groups}:3: not the group"),
        ([{"id": f"g{i}", "rewards": [1, 2, 3]} for i in range(4)], "has rewards of more groups than"),
    ]:
        found = write_rows(rewards, "rewards.jsonl")
        assert main(["pairs", str(groups), "--rewards", str(found), "-o", output]) == 2
        assert said in capsys.readouterr().err
        assert not Path(output).exists()
    found = write_rows([{"id": f"g{i}", "rewards": [1, 1, 1]} for i in range(3)], "rewards.jsonl")
    assert main(["pairs", str(groups), "--rewards", str(found), "-o", output]) == 2
    assert "no pairs to write" in capsys.readouterr().err
    assert main(["pairs", str(groups), "--rewards", str(found), "-o", output, "--answers", str(groups)]) == 2
    assert "no row has an 'answer'" in capsys.readouterr().err


def test_best_of_n(
    sampler: FakeSampler, fake_model: FakeModel, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["best-of-n", "--model", str(model_folder), "--policy", "p", "--prompt", "What is 2 + 2?", "-n", "4"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["answers"]) == 4
    assert said["unfinished"] == [3]
    assert [said["rewards"][i] for i in said["order"]] == sorted(said["rewards"], reverse=True)
    assert sampler.closed == 1
    assert main(command[:5]) == 2
    assert "no prompt" in capsys.readouterr().err


def test_best_of_n_is_a_table_on_a_terminal(
    sampler: FakeSampler,
    fake_model: FakeModel,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    assert main(["best-of-n", "--model", str(model_folder), "--policy", "p", "--prompt", "Q", "-n", "3"]) == 0
    out = capsys.readouterr().out
    assert out.index("rank") < out.index("reward") < out.index("answer")
    assert "1 of them were cut off at 512 tokens" in out


def test_a_policy_of_this_process(checkpoint: Callable[..., Path], write_rows: Write, tmp_path: Path) -> None:
    policy = str(checkpoint(form="none"))
    source = write_rows([{"id": f"q{i}", "messages": f"What is {i}?"} for i in range(3)], "few.jsonl")
    command = ["sample", "--policy", policy, "--device", "cpu", str(source), "-n", "2", "--max-tokens", "4"]
    assert main([*command, "-o", str(tmp_path / "whole.jsonl")]) == 0
    few = tmp_path / "again.jsonl"
    assert main([*command, "-o", str(few), "--chunk", "1"]) == 0
    assert few.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert record_of(few)["resolved"]["device"] == "cpu"


@pytest.fixture
def seen(write_rows: Write, tmp_path: Path) -> Path:
    """Prompts with a picture each."""
    (tmp_path / "one.png").write_bytes(png((56, 56), "red"))
    content = [{"type": "image", "image": "one.png"}, {"type": "text", "text": "What is it?"}]
    rows = [{"id": f"q{i}", "messages": [{"role": "user", "content": content}], "answer": str(i % 9)} for i in range(9)]
    return write_rows(rows, "seen.jsonl")


class Dropper(FakeSampler):
    """Sees what it is shown."""

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings) -> list[Sampled]:
        assert not any(media_of(prompt.messages) for prompt in prompts)
        return super().sample(prompts, settings)


def test_answers_are_gone_on_with_without_their_pictures(
    sampler: FakeSampler,
    fake_model: FakeModel,
    seen: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sampled, scored, pairs = (str(tmp_path / f"{name}.jsonl") for name in ("sampled", "scored", "pairs"))
    policy = ["--policy", str(model_folder)]
    assert main(["sample", *policy, str(seen), "-o", sampled]) == 0
    assert main(["score", "--model", str(model_folder), sampled, "-o", scored, "-q"]) == 0
    monkeypatch.setattr(policy_options, "load_sampler", lambda options: Dropper())
    command = ["sample", *policy, sampled, "--blind", "--rewards", scored, "--keep", "0", "-o"]
    assert main([*command, str(tmp_path / "whole.jsonl"), "--chunk", "2"]) == 0
    monkeypatch.setattr(policy_options, "load_sampler", lambda options: Dropper(4, KeyboardInterrupt()))
    blind = tmp_path / "blind.jsonl"
    assert main([*command, str(blind), "--chunk", "2"]) == 130
    monkeypatch.setattr(policy_options, "load_sampler", lambda options: Dropper())
    assert main([*command, str(blind), "--chunk", "2"]) == 0
    assert blind.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    rows = rows_of(blind)
    assert len(rows) == 9
    assert all(len(row["responses"]) == 1 and row["messages"][0]["content"][0]["type"] == "image" for row in rows)
    best = {row["id"]: max(range(7), key=row["rewards"].__getitem__) for row in rows_of(Path(scored))}
    assert [row["id"] for row in rows] == [f"{name}/{number}" for name, number in best.items()]
    capsys.readouterr()
    assert main(["pairs", sampled, "--rewards", scored, "--blind", str(blind), "-o", pairs]) == 0
    report = json.loads(capsys.readouterr().out)
    made = [row for row in rows_of(Path(pairs)) if row["id"].endswith("-blind")]
    assert report["blind"]["cut"] == 9
    assert report["blind"]["made"] == len(made) == 9 - sum(report["blind"]["dropped"].values())
    assert len(rows_of(Path(pairs))) == report["pairs"] > len(made)
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    assert main(["pairs", sampled, "--rewards", scored, "--blind", str(blind), "-o", pairs, "--overwrite"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  {len(made)} pairs of an answer and what was written without the picture" in lines
    assert sum("continuations dropped: " in line for line in lines) == len(report["blind"]["dropped"])
    for options, said in [
        (["--keep", "0.2"], "begun with blind.keep 0.0, now 0.2"),
        (["--on-error", "skip"], "--blind stops at a bad row"),
        (["--keys", sampled], "no row has an 'answer'"),
    ]:
        assert main([*command, str(blind), "--chunk", "2", *options]) == 2
        assert said in capsys.readouterr().err
    assert main(["sample", *policy, sampled, "-o", str(tmp_path / "x.jsonl"), "--keep", "0.2"]) == 2
    assert "--keep is for --blind" in capsys.readouterr().err
    assert main(["sample", *policy, sampled, "-o", str(tmp_path / "x.jsonl"), "--blind"]) == 2
    assert "--blind needs --rewards" in capsys.readouterr().err


class Leaving(Served):
    """A reward server that is gone after three requests."""

    def __init__(self) -> None:
        self.left = 3
        super().__init__()

    def answer(self, request: Any) -> Any:
        if request.url.path == "/v1/score":
            self.left -= 1
            if self.left < 0:
                return pytest.importorskip("httpx").Response(503)
        return super().answer(request)


def test_a_reward_server_that_goes_away_leaves_what_was_scored(
    sample: Sample,
    sampler: FakeSampler,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sample(prompts)
    server = Leaving()
    monkeypatch.setattr(servers, "_FIRST_WAIT", 0.001)
    engine = functools.partial(RemoteEngine, transport=server.wires, retries=2)
    monkeypatch.setattr(served, "RemoteEngine", engine)
    output = tmp_path / "scored.jsonl"
    command = ["score", str(tmp_path / "sampled.jsonl"), "--engine", "http://a.example", "-o", str(output), "-q"]
    assert main([*command, "--chunk", "4"]) == 2
    said = capsys.readouterr().err
    assert "3 times" in said
    assert said.count("\n") == 1
    assert len(rows_of(output)) == 12
    assert server.left == -3
    server.left = 99
    assert main([*command, "--chunk", "4"]) == 0
    assert server.left == 97
    assert [row["id"] for row in rows_of(output)] == [f"q{i}" for i in range(20)]


def test_a_policy_with_another_tokenizer_than_the_reward_model(
    checkpoint: Callable[..., Path], seen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, reward = tmp_path / "policy", checkpoint()
    shutil.copytree(checkpoint(form="none"), policy)
    other = tokenizer.build_tokenizer(tokenizer._MERGES[::-1])  # as many tokens, under other numbers
    other.chat_template = tokenizer.CHAT_TEMPLATES["qwen2_5_vl"]
    other.save_pretrained(str(policy))
    model = RewardModel.from_pretrained(reward, device="cpu", dtype="float32")
    assert other("the red circle")["input_ids"] != model.processor.tokenizer("the red circle")["input_ids"]
    sampled, scored, blind, pairs = (str(tmp_path / f"{n}.jsonl") for n in ("sampled", "scored", "blind", "pairs"))
    asking = ["--policy", str(policy), "--device", "cpu", "--max-tokens", "6", "-q"]
    assert main(["sample", *asking, str(seen), "-n", "3", "-o", sampled]) == 0
    assert main(["score", "--model", str(reward), "--device", "cpu", sampled, "-o", scored, "-q"]) == 0
    # Texts and pictures go from one to the other, and nothing else.
    groups, rows = list(read_groups(sampled)), rows_of(Path(scored))
    written = [[str(response[0].content) for response in group.responses] for group in groups]
    anew = [Group(group.messages, answers, id=group.id) for group, answers in zip(groups, written, strict=True)]
    for rewards, row in zip(model.score_groups(anew), rows, strict=True):
        assert row["rewards"] == pytest.approx(rewards, abs=1e-4)
    # Random models rarely end an answer, and what is cut off is never chosen.
    ended = [{name: value for name, value in row.items() if name != "unfinished"} for row in rows_of(Path(sampled))]
    Path(sampled).write_text("".join(json.dumps(row) + "\n" for row in ended))
    assert main(["sample", *asking, sampled, "--blind", "--rewards", scored, "-o", blind]) == 0
    capsys.readouterr()
    assert main(["pairs", sampled, "--rewards", scored, "--blind", blind, "-o", pairs]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["blind"]["cut"] == 9
    assert report["pairs"] > report["blind"]["made"] > 0
