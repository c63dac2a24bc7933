from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from vlreward.errors import CheckpointError
from vlreward.model.checkpoints import CheckpointFolder

from .checkpoint_folders import copy_folder, edit_json, edit_tensors, shard, to_torch_file

Get = Callable[..., Path]


@pytest.fixture
def folder(checkpoint: Get, tmp_path: Path) -> Path:
    return copy_folder(checkpoint(), tmp_path / "model")


def refusal(path: Path | str, **options: Any) -> str:
    with pytest.raises(CheckpointError) as error:
        CheckpointFolder.open(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def contents(folder: CheckpointFolder) -> dict[str, torch.Tensor]:
    return {name: folder.read(name) for name in folder.tensors}


def test_headers_tell_what_the_tensors_are(folder: Path):
    opened = CheckpointFolder.open(folder)
    for name, tensor in contents(opened).items():
        info = opened.tensors[name]
        assert (info.shape, info.dtype, info.file) == (tuple(tensor.shape), "float32", folder / "model.safetensors")
        assert info.count == tensor.numel()
        assert info.size == tensor.nbytes
    assert opened.hidden_size == 48


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_one_model(folder: Path, suffix: str):
    whole = contents(CheckpointFolder.open(folder))
    files = shard(folder, 3, suffix)
    opened = CheckpointFolder.open(folder)
    assert opened.files == tuple(files)
    assert {name: t.shape for name, t in whole.items()} == {name: i.shape for name, i in opened.tensors.items()}
    assert all(torch.equal(opened.read(name), tensor) for name, tensor in whole.items())


@pytest.mark.parametrize("legacy", [False, True])
def test_a_torch_file_is_read_without_running_what_is_in_it(folder: Path, legacy: bool):
    whole = contents(CheckpointFolder.open(folder))
    path = to_torch_file(folder)
    if legacy:
        torch.save(whole, path, _use_new_zipfile_serialization=False)
    opened = CheckpointFolder.open(folder)
    assert all(torch.equal(opened.read(name), tensor) for name, tensor in whole.items())


def test_safetensors_are_preferred_over_a_torch_file(folder: Path):
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    assert CheckpointFolder.open(folder).files == (folder / "model.safetensors",)


def test_looking_at_a_folder_imports_no_torch(folder: Path):
    code = (
        "import sys; from vlreward.model.checkpoints import CheckpointFolder, identify, read_pixel_limits;"
        f"folder = CheckpointFolder.open({str(folder)!r}); identify(folder); read_pixel_limits(folder);"
        "import vlreward.model.inspect, vlreward.model.convert;"
        "assert not {'torch', 'transformers', 'safetensors', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_such_folder():
    assert refusal("./nowhere") == "./nowhere: no such folder"
    assert refusal("/no/such/place") == "/no/such/place: no such folder"
    assert refusal(Path("demo/nowhere")) == "demo/nowhere: no such folder"


def test_a_file_is_no_folder(folder: Path):
    path = folder / "config.json"
    assert refusal(path) == f"{path}: a file; expected a model folder or a hub id"


def test_no_config(folder: Path):
    (folder / "config.json").unlink()
    assert refusal(folder) == f"{folder}: no config.json; expected a model folder as save_pretrained writes it"


def test_a_lora_adapter_alone(folder: Path):
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert refusal(folder) == (
        f"{folder}: a LoRA adapter without its model; merge the adapter into the model it adapts"
    )


def test_a_lora_adapter_beside_its_model(folder: Path):
    (folder / "adapter_config.json").write_text("{}")
    assert refusal(folder) == (
        f"{folder}: adapter_config.json beside the model's own weights; merge the LoRA adapter into them, or move it to"
        " a folder of its own"
    )


def test_a_config_that_is_no_json(folder: Path):
    (folder / "config.json").write_text('{\n  "a": 1,\n}')
    assert refusal(folder).startswith(f"{folder}/config.json:3: not JSON: ")
    (folder / "config.json").write_text("[]")
    assert refusal(folder) == f"{folder}/config.json: expected a JSON object, got list"
    (folder / "config.json").write_bytes(b"\xff\xfe")
    assert refusal(folder).startswith(f"{folder}/config.json: cannot be read: 'utf-8' codec")


def test_a_config_without_hidden_size(folder: Path):
    edit_json(folder / "config.json", lambda config: config["text_config"].pop("hidden_size"))
    with pytest.raises(CheckpointError, match=r"config.json: no hidden_size; is this a language model's config\?"):
        _ = CheckpointFolder.open(folder).hidden_size


def test_no_weights(folder: Path):
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == (
        f"{folder}: no weights; expected one of model.safetensors, model.safetensors.index.json, pytorch_model.bin,"
        " pytorch_model.bin.index.json"
    )


def test_two_models_in_one_folder(folder: Path):
    whole = (folder / "model.safetensors").read_bytes()
    shard(folder)
    (folder / "model.safetensors").write_bytes(whole)
    assert refusal(folder) == (
        f"{folder}: both model.safetensors and model.safetensors.index.json: two models in one folder; remove the stale"
        " one"
    )


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_missing_shard(folder: Path, suffix: str):
    files = shard(folder, suffix=suffix)
    files[1].unlink()
    index = next(folder.glob("*.index.json")).name
    assert refusal(folder) == f"{folder}: shard {files[1].name} is missing; {index} names it"


def test_a_tensor_that_is_not_in_its_shard(folder: Path):
    files = shard(folder)
    edit_tensors(files[2], lambda tensors: tensors.popitem())
    message = refusal(folder)
    assert message.startswith(f"{files[2]}: no tensor ")
    assert message.endswith(", which model.safetensors.index.json says is there")


@pytest.mark.parametrize("places", [None, [], {"a": 3}])
def test_an_index_without_places(folder: Path, places: object):
    shard(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert refusal(folder) == f"{index}: no weight_map of tensor names to file names"


def test_an_index_that_points_out_of_the_folder(folder: Path):
    shard(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../other/model.safetensors"}}))
    assert refusal(folder) == f"{index}: '../other/model.safetensors' is not the name of a file beside it"


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("missing", [1, 1000])
def test_a_truncated_file(folder: Path, sharded: bool, missing: int):
    path = shard(folder)[1] if sharded else folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-missing])
    assert refusal(folder) == (
        f"{path}: its header promises {len(data):,} bytes, the file has {len(data) - missing:,};"
        " the file is truncated or damaged; copy or download it again"
    )


def test_a_truncated_torch_file(folder: Path):
    path = to_torch_file(folder)
    path.write_bytes(path.read_bytes()[:-100])
    message = refusal(folder)
    assert message.startswith(f"{path}: not a file of tensors (")
    assert message.endswith("the file is truncated or damaged; copy or download it again")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_of_zero_bytes(folder: Path, name: str):
    (folder / "model.safetensors").unlink()
    (folder / name).touch()
    assert refusal(folder) == f"{folder / name}: zero bytes; copy or download the file again"


AGAIN = "the file is truncated or damaged; copy or download it again"
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc", "its header cannot be read: 0 header bytes in 3; "),
        (
            struct.pack("<Q", 1 << 60) + b"{}",
            "its header cannot be read: 1,152,921,504,606,846,976 header bytes in 10; ",
        ),
        (struct.pack("<Q", 50) + b"{}", "its header cannot be read: 50 header bytes in 10; "),
        (struct.pack("<Q", 2) + b"{{", "its header cannot be read: Expecting property name"),
        (struct.pack("<Q", 2) + b"[]", "its header cannot be read: not an object; "),
        ({"a": {"dtype": "F32"}}, "the header's entry for a cannot be read (KeyError('shape')); "),
        ({"a": {**ENTRY, "dtype": "Q4"}}, "the header's entry for a cannot be read (KeyError('Q4')); "),
        ({"a": {**ENTRY, "shape": [3]}}, "the header gives a 8 bytes for (3,) float32; "),
        ({"a": {**ENTRY, "shape": [-2], "data_offsets": [0, -8]}}, "the header gives a -8 bytes for (-2,) float32; "),
        ({"a": 3}, "the header's entry for a cannot be read (TypeError("),
    ],
)
def test_a_header_that_cannot_be_read(folder: Path, data: bytes | dict[str, object], message: str):
    path = folder / "model.safetensors"
    if isinstance(data, dict):
        header = json.dumps(data).encode()
        data = struct.pack("<Q", len(header)) + header + bytes(8)
    path.write_bytes(data)
    refused = refusal(folder)
    assert refused.startswith(f"{path}: {message}")
    assert refused.endswith(AGAIN)


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def test_a_torch_file_with_code_in_it_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    path = to_torch_file(folder)
    torch.save({"weight": Code()}, path)
    assert refusal(folder).startswith(f"{path}: not a file of tensors (")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(1)]])
def test_a_torch_file_of_other_things(folder: Path, content: object):
    path = to_torch_file(folder)
    torch.save(content, path)
    assert refusal(folder) == (f"{path}: expected a dictionary of tensors, as torch.save(model.state_dict()) writes it")


def test_a_tensor_that_is_not_there(folder: Path):
    with pytest.raises(CheckpointError, match=r"model: no tensor named nonsense"):
        CheckpointFolder.open(folder).read("nonsense")


# Hub ids: the hub client is replaced, since tests have no network.


class FakeHub:
    def __init__(self, folder: Path | Exception) -> None:
        self.folder, self.calls = folder, []

    def __call__(self, hub_id: str, **options: Any) -> str:
        self.calls.append((hub_id, options))
        if isinstance(self.folder, Exception):
            raise self.folder
        return str(self.folder)


def test_a_hub_id_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch):
    hub = FakeHub(folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    opened = CheckpointFolder.open("someone/some-model", revision="v1", local_files_only=True)
    assert (opened.name, opened.path) == ("someone/some-model", folder)
    ((hub_id, options),) = hub.calls
    assert (hub_id, options["revision"], options["local_files_only"]) == ("someone/some-model", "v1", True)
    assert "*.safetensors" in options["allow_patterns"]
    assert "*.bin" not in options["allow_patterns"]


def test_torch_files_are_fetched_where_there_are_no_safetensors(folder: Path, monkeypatch: pytest.MonkeyPatch):
    to_torch_file(folder)
    (folder / "value_head.safetensors").unlink()
    hub = FakeHub(folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    CheckpointFolder.open("someone/some-model")
    assert "*.bin" in hub.calls[1][1]["allow_patterns"]


def _http(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "many\nlines")
    return error


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (_http(errors.GatedRepoError), {}, "a/b: a gated model; accept its terms on its page, then run: hf auth login"),
        (_http(errors.RevisionNotFoundError), {"revision": "v9"}, "a/b at revision v9: the hub has no such revision"),
        (
            _http(errors.RepositoryNotFoundError),
            {},
            "a/b: no such folder here, and no such model on the hub that you may read",
        ),
        (
            errors.LocalEntryNotFoundError("no"),
            {},
            "a/b: no such folder here, it is not in the local cache, and the hub cannot be reached",
        ),
        (
            errors.LocalEntryNotFoundError("no"),
            {"local_files_only": True},
            "a/b: no such folder here, it is not in the local cache, and offline was asked for",
        ),
        (
            _http(errors.HfHubHTTPError),
            {},
            "a/b: no such folder here, and the hub did not give it: many lines",
        ),
        (OSError("disk full"), {}, "a/b: no such folder here, and the hub did not give it: disk full"),
    ],
)
def test_what_the_hub_refuses(error: Exception, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", FakeHub(error))
    assert refusal("a/b", **options) == message


def test_an_id_that_is_nowhere_without_a_network():
    assert refusal("nobody/no-such-model-here", local_files_only=True) == (
        "nobody/no-such-model-here: no such folder here, it is not in the local cache, and offline was asked for"
    )
