"""Rewards into files, as they come or at once, and back; interrupted anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlreward.data.rewards import RewardWriter, read_rewards, write_rewards
from vlreward.errors import InputError
from vlreward.types import Reward

Lines = Callable[..., Path]
FORMATS = ["rewards.jsonl", "rewards.parquet"]
REWARDS = [Reward(id=f"g{i}", rewards=(i / 3, -i * 1e-9, 1e300)) for i in range(20)]

finite = st.floats(allow_nan=False, allow_infinity=False)
rewards = st.lists(
    st.builds(lambda id, values: Reward(id=id, rewards=tuple(values)), st.text(), st.lists(finite, max_size=4)),
    min_size=1,
    max_size=5,
    unique_by=lambda reward: reward.id,
)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=rewards)
def test_round_trip(name: str, batch: list[Reward], tmp_path: Path) -> None:
    assert write_rewards(tmp_path / name, batch) == len(batch)
    assert list(read_rewards(tmp_path / name)) == batch
    with RewardWriter(tmp_path / name) as writer:
        for reward in batch:
            writer.write(reward)
    assert list(read_rewards(tmp_path / name)) == batch


def test_rows_are_plain(tmp_path: Path) -> None:
    write_rewards(tmp_path / "a.jsonl", REWARDS[:1])
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"id": "g0", "rewards": [0.0, 0.0, 1e300]}
    write_rewards(tmp_path / "a.parquet", REWARDS)
    assert pq.read_table(tmp_path / "a.parquet").column_names == ["id", "rewards"]


def test_a_reward_without_an_id(tmp_path: Path) -> None:
    write_rewards(tmp_path / "a.jsonl", [Reward(rewards=(1.0,)), Reward(rewards=(2.0,))])
    assert [reward.id for reward in read_rewards(tmp_path / "a.jsonl")] == [None, None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "x"}, "'rewards' must be a list of numbers, got None"),
        ({"id": "x", "rewards": 1.0}, "'rewards' must be a list of numbers, got 1.0"),
        ({"id": "x", "rewards": [1, "2"]}, r"rewards\[1\] must be a finite number, got '2'"),
        ({"id": "x", "rewards": [True]}, r"rewards\[0\] must be a finite number, got True"),
        ('{"id": "x", "rewards": [1e999]}', r"rewards\[0\] must be a finite number, got inf"),
        ('{"id": "x", "rewards": [NaN]}', "invalid JSON: NaN is not a JSON number"),
        ({"id": "x", "reward": [1]}, r"unknown key 'reward'; did you mean 'rewards'\?"),
        ({"id": "g0", "rewards": []}, "id 'g0' is already that of pairs.jsonl:1; ids must differ"),
        ({"id": "x", "error": "no such file"}, "this group was skipped and has no rewards: no such file"),
    ],
)
def test_rows_that_are_no_rewards(lines: Lines, row: Any, message: str) -> None:
    found = read_rewards(lines({"id": "g0", "rewards": [0]}, row))
    assert next(found) == Reward(id="g0", rewards=(0.0,))
    with pytest.raises(InputError, match=f"^pairs.jsonl:2: {message}$"):
        next(found)


class TestResuming:
    @pytest.mark.parametrize("name", FORMATS)
    def test_an_error_loses_nothing(self, name: str, tmp_path: Path) -> None:
        def interrupted() -> None:
            with RewardWriter(tmp_path / name) as writer:
                writer.write(REWARDS[0])
                writer.write(REWARDS[1])
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        with RewardWriter(tmp_path / name, resume=True) as writer:
            assert writer.done == {"g0", "g1"}
            writer.write(REWARDS[2])
        assert list(read_rewards(tmp_path / name)) == REWARDS[:3]
        assert [item.name for item in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_finished_file_is_added_to_or_replaced(self, name: str, tmp_path: Path) -> None:
        write_rewards(tmp_path / name, REWARDS[:2])
        with RewardWriter(tmp_path / name, resume=True) as writer:
            assert writer.done == {"g0", "g1"}
        assert list(read_rewards(tmp_path / name)) == REWARDS[:2]
        with RewardWriter(tmp_path / name) as writer:
            assert writer.done == frozenset()
            writer.write(REWARDS[5])
            writer.close()
        assert list(read_rewards(tmp_path / name)) == REWARDS[5:6]

    @pytest.mark.parametrize("name", FORMATS)
    def test_nothing_to_resume_and_nothing_to_write(self, name: str, tmp_path: Path) -> None:
        for _ in range(2):
            with RewardWriter(tmp_path / name, resume=True) as writer:
                assert writer.done == frozenset()

    def test_torn_at_every_byte(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        write_rewards(path, REWARDS[:3])
        whole = path.read_bytes()
        for length in range(len(whole) + 1):
            path.write_bytes(whole[:length])
            with RewardWriter(path, resume=True) as writer:
                for reward in REWARDS[:3]:
                    if reward.id not in writer.done:
                        writer.write(reward)
            assert path.read_bytes() == whole

    def test_a_long_torn_line(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        many = Reward(id="g", rewards=tuple(float(i) for i in range(50_000)))
        write_rewards(path, [REWARDS[0], many])
        path.write_bytes(path.read_bytes()[:-5])
        with RewardWriter(path, resume=True) as writer:
            assert writer.done == {"g0"}
        assert list(read_rewards(path)) == REWARDS[:1]

    def test_what_is_not_ours_is_not_touched(self, lines: Lines) -> None:
        path = lines({"text": "somebody's notes"})
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"^pairs.jsonl:1: 'rewards' must|^pairs.jsonl:1: unknown key 'text'"):
            RewardWriter(path, resume=True)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("name", FORMATS)
    def test_killed(self, name: str, tmp_path: Path) -> None:
        script = (
            "import sys; from vlreward.data.rewards import RewardWriter; from vlreward.types import Reward\n"
            "with RewardWriter(sys.argv[1], resume=True) as writer:\n"
            "    print('ready', flush=True)\n"
            "    for i in range(10**7): writer.write(Reward(id=str(i), rewards=(i / 3,)))\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / name)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.2)
        process.kill()
        process.communicate()
        with RewardWriter(tmp_path / name, resume=True) as writer:
            count = len(writer.done)
            writer.write(Reward(id="last", rewards=(0.0,)))
        assert count > 10
        ids = [reward.id for reward in read_rewards(tmp_path / name)]
        assert ids == [*map(str, range(count)), "last"]
