"""One prompt on the command line: the group that it makes, JSON in a pipe, a table on a terminal."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.fakes import FakeModel, fake_reward
from vlreward.cli import loading, main, tables
from vlreward.cli.options import ModelOptions, group_from, model_options
from vlreward.cli.parser import parse
from vlreward.errors import ConfigError
from vlreward.model.calibration import bradley_terry
from vlreward.types import Group, Image, Message, Text, Video

ASK = ["-m", "m", "--prompt", "What is it?", "-r", "A cat.", "-r", "", "-r", "A long\nanswer " + "x" * 200]
GROUP = Group("What is it?", ["A cat.", "", "A long\nanswer " + "x" * 200])
REWARDS = [fake_reward(GROUP, i) for i in range(3)]


def group_of(*options: str) -> Group:
    return group_from(parse(["score", "-m", "m", *options]))


def test_text_alone_is_plain_text() -> None:
    group = group_of("--prompt", "Q", "--response", "A", "--response", "")
    assert group.messages == (Message("user", "Q"),)
    assert group.responses == ((Message("assistant", "A"),), (Message("assistant", ""),))


def test_pictures_and_videos_stand_before_the_text() -> None:
    group = group_of(
        "--prompt", "Q", "--image", "a.png", "--video", "v.mp4", "--fps", "3", "--image", "b.png", "--system", "S",
        "-r", "A",
    )  # fmt: skip
    system, user = group.messages
    assert system == Message("system", "S")
    assert [type(part) for part in user.parts] == [Image, Image, Video, Text]
    first, second, video, text = user.parts
    assert isinstance(first, Image)
    assert isinstance(second, Image)
    assert isinstance(video, Video)
    assert (first.source, second.source, video.source, video.fps) == ("a.png", "b.png", "v.mp4", 3)
    assert text == Text(text="Q")


def test_a_picture_needs_no_text() -> None:
    (user,) = group_of("--image", "a.png", "-r", "A").messages
    assert [type(part) for part in user.parts] == [Image]


def test_responses_keep_the_order_in_which_they_are_said() -> None:
    group = group_of("--prompt", "Q", "-r", "A", "--response-image", "edited.png", "-r", "B", "-r=--dashes")
    texts = [tables.one_line(response) for response in group.responses]
    assert texts == ["A", "[picture edited.png]", "B", "--dashes"]


def test_model_options(monkeypatch: pytest.MonkeyPatch) -> None:
    args = parse(["score", "--max-pixels", "1,000,000", "--offline", "--revision", "abc"])
    with pytest.raises(ConfigError, match="no model"):
        model_options(args)
    monkeypatch.setenv("VLREWARD_MODEL", "from/environment")
    assert model_options(args) == ModelOptions(
        model="from/environment", max_pixels=1_000_000, offline=True, revision="abc"
    )
    assert model_options(parse(["score", "-m", "said"])).model == "said"


def test_what_loading_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlreward.model.reward_model import RewardModel

    asked: dict[str, Any] = {}
    monkeypatch.setattr(RewardModel, "from_pretrained", lambda path, **options: asked.update(path=path, **options))
    options = ["--dtype", "float32", "--device", "cpu", "--pack-tokens", "100", "--allow-urls", "--min-pixels", "9"]
    loading.load_model(model_options(parse(["score", "-m", "m", *options, "--positive", "Good"])))
    assert asked["path"] == "m"
    assert (asked["dtype"], asked["device"], asked["pack_tokens"]) == ("float32", "cpu", 100)
    assert (asked["min_pixels"], asked["max_pixels"]) == (9, None)
    assert asked["media_limits"].allow_urls
    assert asked["question"].positive == "Good"
    assert asked["question"].negative == "No"
    loading.load_model(model_options(parse(["score", "-m", "m"])))
    assert asked["question"] is None
    assert not asked["media_limits"].allow_urls


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize(
    ("verb", "argv", "expected"),
    [
        ("score", ASK, {"rewards": REWARDS}),
        ("rank", ASK, {"order": sorted(range(3), key=lambda i: -REWARDS[i]), "rewards": REWARDS}),
        (
            "compare",
            ASK[:-2],
            {"probability": bradley_terry(REWARDS[0] - REWARDS[1]), "rewards": REWARDS[:2], "calibrated": False},
        ),
    ],
)
def test_plain_json_in_a_pipe(
    verb: str, argv: list[str], expected: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, *argv]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert out.count("\n") == 1
    said = json.loads(out)
    assert list(said) == list(expected)
    assert said["rewards"] == pytest.approx(expected["rewards"])


@pytest.mark.usefixtures("fake_model")
def test_trace_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "-m", "m", "-p", "Q", "-r", "One. Two. Three"]) == 0
    (points,) = json.loads(capsys.readouterr().out)["traces"]
    assert [list(point) for point in points] == [["end", "text", "reward"]] * 3


@pytest.mark.parametrize(("margin", "expected"), [(0.0, 0.5), (1.0, 0.7310585786300049), (-2000.0, 0.0), (2000.0, 1.0)])
def test_probability(margin: float, expected: float) -> None:
    assert bradley_terry(margin) == pytest.approx(expected, abs=1e-15)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], io.StringIO]:
    """A terminal so many columns wide."""

    def make(width: int) -> io.StringIO:
        screen = io.StringIO()
        console = Console(file=screen, width=width, force_terminal=True, color_system=None, highlight=False)
        monkeypatch.setattr(tables, "on_terminal", lambda: True)
        monkeypatch.setattr(tables, "console", lambda: console)
        return screen

    return make


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("verb", ["score", "rank", "compare", "trace"])
def test_a_table_with_bars_on_a_terminal(verb: str, width: int, terminal: Callable[[int], io.StringIO]) -> None:
    screen = terminal(width)
    assert main([verb, *(ASK[:-2] if verb == "compare" else ASK)]) == 0
    lines = screen.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    if verb == "trace":
        return
    count = 2 if verb == "compare" else 3
    body = [line for line in lines if any(f"{reward:+.3f}" in line for reward in REWARDS[:count])]
    assert len(body) == count
    best = next(line for line in body if f"{max(REWARDS[:count]):+.3f}" in line)
    assert best.count("█") == max(line.count("█") for line in body) >= 7
    assert any("(empty)" in line for line in body)
    if verb == "rank":
        assert body[0] == best
    if verb == "score":
        assert "A long answer" in screen.getvalue()
        assert screen.getvalue().count("x") < 200
        assert "…" in screen.getvalue()
    if verb == "compare":
        assert f"with probability {bradley_terry(REWARDS[0] - REWARDS[1]):.3f}" in screen.getvalue()
        assert "(σ of the difference, not calibrated)" in " ".join(screen.getvalue().split())


@pytest.mark.usefixtures("fake_model")
def test_json_can_be_had_on_a_terminal(
    terminal: Callable[[int], io.StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    screen = terminal(80)
    assert main(["score", *ASK, "--json"]) == 0
    assert not screen.getvalue()
    assert len(json.loads(capsys.readouterr().out)["rewards"]) == 3


def test_text_is_shown_as_it_is(terminal: Callable[[int], io.StringIO]) -> None:
    screen = terminal(80)
    table = tables.reward_table(["1"], [0.0], ["[bold]not markup[/bold] :smile:"], header=("#", "answer"))
    tables.console().print(table)
    assert "[bold]not markup[/bold] :smile:" in screen.getvalue()


def test_equal_rewards_have_equal_bars(terminal: Callable[[int], io.StringIO]) -> None:
    screen = terminal(80)
    tables.console().print(tables.reward_table("12", [1.0, 1.0], "ab", header=("#", "answer")))
    bars = [line.count("█") for line in screen.getvalue().splitlines() if "+1.000" in line]
    assert bars[0] == bars[1] > 5


def test_each_kind_of_warning_is_one_line_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Warning(FakeModel):
        def score_groups(self, groups: Any) -> list[list[float]]:
            for count in (5000, 6000):
                logging.getLogger("vlreward").warning("a picture takes %d visual tokens;\nlower --max-pixels", count)
            return super().score_groups(groups)

    monkeypatch.setattr(loading, "load_model", lambda options: Warning())
    for _ in range(2):
        assert main(["score", *ASK]) == 0
        assert capsys.readouterr().err == "note: a picture takes 5000 visual tokens; lower --max-pixels\n"


def test_progress_of_a_run_in_a_log(
    tmp_path: Path, fake_model: FakeModel, model_folder: Path, monkeypatch: pytest.MonkeyPatch,
    write_rows: Callable[..., Path], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from vlreward.cli import progress

    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    argv = ["score", "-m", str(model_folder), str(write_rows(40)), "-o", str(tmp_path / "out.jsonl")]
    assert main(argv) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["32 of 40 groups", "40 of 40 groups"]
    write_rows(70)
    assert main(argv) == 0
    assert capsys.readouterr().err.startswith("note: going on after 32 of 70 groups\n")
    assert main([*argv, "--overwrite", "--quiet"]) == 0
    assert not capsys.readouterr().err
