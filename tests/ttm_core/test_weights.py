"""Untrusted checkpoints: common layouts are read; code, decompression bombs and damaged files are refused."""

import argparse
import collections
import gzip
import io
import os
import pickle
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.support.fork_server import CONTEXT
from ttm_core.checkpoints.key_map import without_wrappers
from ttm_core.checkpoints.schema import InspectionRequest
from ttm_core.checkpoints.signatures import read_signatures
from ttm_core.errors import BadCheckpoint
from ttm_core.models.weights import read_metadata, read_weights, write_safetensors
from ttm_core.reader.checkpoints.inspection import inspect

STATE = {"conv.weight": torch.arange(12.0).reshape(3, 4), "bn.num_batches_tracked": torch.tensor(3)}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in STATE.items()}


LAYOUTS: dict[str, Any] = {
    "bare": STATE,
    "ordered": collections.OrderedDict(STATE),
    "state_dict": {"state_dict": STATE, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "model": {"model": STATE, "best_acc": torch.tensor(0.7)},
    "arguments": {"state_dict": STATE, "args": argparse.Namespace(lr=0.1, out=Path("x/y")), "metric": np.float64(71.2)},
    "data parallel": {"state_dict": prefixed("module.")},
    "compiled": prefixed("_orig_mod."),
    "compiled and parallel": prefixed("module._orig_mod."),
    "lightning": {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.0"},
    "averaged": {"state_dict": {name: tensor * 0 for name, tensor in STATE.items()}, "state_dict_ema": STATE},
    "averaged model": {**prefixed("module."), "n_averaged": torch.tensor(5)},
    "lightning with a loss and metrics": {
        "state_dict": {
            **prefixed("model."),
            "criterion.weight": torch.ones(3),
            "train_acc.tp": torch.tensor(0),
            "val_metrics.confmat": torch.zeros(3, 3),
        }
    },
    "counted by thop": {**STATE, "total_ops": torch.zeros(1), "conv.total_params": torch.zeros(1)},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_checkpoint_layouts_are_read(tmp_path: Path, layout: str, zipped: bool):
    torch.save(LAYOUTS[layout], tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "x.pth").tensors
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_no_architecture_has_tensors_or_prefixes_that_wrappers_add():
    for signature in read_signatures():
        shapes = dict(signature.shapes)
        assert without_wrappers(shapes) == shapes


def test_foreign_safetensors_are_read(tmp_path):
    safetensors.torch.save_file(prefixed("module."), tmp_path / "x.safetensors", {"format": "pt"})
    found = read_weights(tmp_path / "x.safetensors")
    assert found.tensors.keys() == STATE.keys()
    assert found.metadata == {}


def test_written_safetensors_are_deterministic_and_keep_metadata(tmp_path):
    code = (
        "import torch; from pathlib import Path; from ttm_core.models.weights import write_safetensors\n"
        f"write_safetensors(Path({str(tmp_path / 'one')!r}), "
        "{'b': torch.ones(2), 'a': torch.zeros(3)}, {k: k for k in 'zyxwv'})"
    )
    # Iteration orders may differ between processes; the fork server has another seed of hashes than this process.
    process = CONTEXT.Process(target=exec, args=(code, {}), daemon=True)
    process.start()
    process.join()
    write_safetensors(tmp_path / "two", {"b": torch.ones(2), "a": torch.zeros(3)}, {k: k for k in "zyxwv"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_weights(tmp_path / "one").metadata == {k: k for k in "zyxwv"}


def test_writing_leaves_no_partial_file(tmp_path):
    write_safetensors(tmp_path / "x.safetensors", STATE, {})
    assert os.listdir(tmp_path) == ["x.safetensors"]


class RunsCode:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["HOSTILE_MARK"],)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": STATE, "extra": x}], ids=["bare", "nested"])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_pickles_that_run_code_are_refused(tmp_path, monkeypatch, wrap, how):
    mark = tmp_path / "mark"
    monkeypatch.setenv("HOSTILE_MARK", str(mark))
    path = tmp_path / "x.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(wrap(RunsCode()), protocol=2))
    else:
        torch.save(wrap(RunsCode()), path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(BadCheckpoint, match=r"can run code|cannot be read") as caught:
        read_weights(path)
    assert not mark.exists()
    assert "weights_only=False" not in caught.value.message  # torch suggests it, but it is unsafe


class Claims:
    """A tensor that claims a hundred million elements over a storage of four."""

    def __reduce__(self) -> Any:
        storage = torch.storage.TypedStorage(
            wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
        )
        return torch._utils._rebuild_tensor_v2, (storage, 0, (10**8,), (1,), False, collections.OrderedDict())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_larger_than_their_storage_are_refused(tmp_path, zipped):
    torch.save({"a": Claims()}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert (tmp_path / "x.pth").stat().st_size < 2000
    with pytest.raises(BadCheckpoint):
        read_weights(tmp_path / "x.pth")


def _tar() -> bytes:
    """The entries that the first releases of PyTorch wrote."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(pickle.dumps(0, 2))
            archive.addfile(member, io.BytesIO(pickle.dumps(0, 2)))
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (_tar, "is a tar archive, which the first releases of PyTorch wrote. .*weights_only=False"),
        (lambda: b"hello\n" + _saved(), "is a zip archive after 6 other bytes"),
        (lambda: b"\x80\x02}." + _saved(), "is a zip archive after 4 other bytes"),
        (lambda: b"<!DOCTYPE html><html></html>", "is a web page"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (lambda: gzip.compress(_saved()), "compressed with gzip. Unpack it"),
        (lambda: b'{"weight_map": {"fc.weight": "model-00001-of-00002.safetensors"}}', "JSON file, such as the index"),
        (lambda: _exported(), "is a program of torch.export. Save the state dict"),
        (lambda: _script(), "is a TorchScript program. Save the state dict"),
        (lambda: bytes(100), "no file of torch.save or safetensors"),
    ],
)
def test_other_files_are_named(tmp_path, content, problem):
    (tmp_path / "x.pth").write_bytes(content())
    with pytest.raises(BadCheckpoint, match=problem):
        read_weights(tmp_path / "x.pth")
    if "no file" not in problem:
        assert re.search(problem, inspect(tmp_path / "x.pth", InspectionRequest()).problem or "")


def _saved() -> bytes:
    content = io.BytesIO()
    torch.save(STATE, content)
    return content.getvalue()


def _exported() -> bytes:
    content = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), content)
    return content.getvalue()


def _script() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("x/code/__torch__.py", "x/data.pkl", "x/constants.pkl", "x/version"):
            archive.writestr(name, b"x" * 300)
    return content.getvalue()


def test_expanded_tensor_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(10**9)}, tmp_path / "x.pth")
    with pytest.raises(BadCheckpoint, match="more than the file contains"):
        read_weights(tmp_path / "x.pth")


def test_compressed_checkpoint_is_refused_before_reading(tmp_path):
    torch.save({"a": torch.zeros(25_000_000)}, tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 200_000
    with pytest.raises(BadCheckpoint, match="compressed entries"):
        read_weights(tmp_path / "bomb.pth")


def test_torchscript_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in ("x/data.pkl", "x/constants.pkl", "x/code/__torch__.py", "x/version"):
            archive.writestr(name, b"x" * 20)
    with pytest.raises(BadCheckpoint, match="TorchScript"):
        read_weights(tmp_path / "x.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_non_finite_weights_are_refused(tmp_path, value, kind):
    torch.save({"good": torch.ones(3), "bad": torch.tensor([1.0, value]).to(kind)}, tmp_path / "x.pth")
    with pytest.raises(BadCheckpoint, match="'bad' has NaN or infinite"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "content", [{}, [1, 2], {"a": 1}, {"state_dict": {}}, torch.ones(3), {"a": torch.ones(2).to_sparse()}]
)
def test_files_without_weights_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(BadCheckpoint):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files_are_refused(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "safetensors":
        safetensors.torch.save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for length in {0, 1, 8, 15, 16, 100, len(whole) // 2, len(whole) - 20, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(BadCheckpoint):
            read_weights(path)


@pytest.mark.parametrize(
    "content", [b"hello, world, this is text", b"<html>" * 10, b"\x89PNG\r\n" + bytes(50), bytes(100), b"\x80\x04" * 20]
)
def test_unsupported_files_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadCheckpoint):
        read_weights(tmp_path / "x")


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("layout", ["zip", "legacy", "safetensors"])
def test_float8_weights_are_converted_to_float32(tmp_path, kind, layout):
    state = {"weight": torch.linspace(-2, 2, 12).reshape(3, 4).to(kind)}
    if layout == "safetensors":
        safetensors.torch.save_file(state, tmp_path / "x")
    else:
        torch.save(state, tmp_path / "x", _use_new_zipfile_serialization=layout == "zip")
    found = read_weights(tmp_path / "x").tensors["weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, state["weight"].float())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_views_parameters_and_tied_weights_keep_their_elements(tmp_path, zipped):
    matrix = torch.arange(60.0).reshape(3, 4, 5)
    state = {
        "transposed": matrix.permute(2, 0, 1),
        "part": matrix[1:, ::2, 1],
        "tied": matrix,
        "parameter": torch.nn.Parameter(torch.randn(2, 3)),
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "half": torch.randn(5).half(),
        "bfloat16": torch.randn(5).bfloat16(),
        "flags": torch.tensor([True, False]),
    }
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "x.pth").tensors
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach())


def test_a_crash_of_the_reader_is_an_error_of_the_file(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(50_000_000)}, tmp_path / "x.pth")
    monkeypatch.setenv("TTM_READER_MEMORY_BYTES", str(200 * 2**20))
    with pytest.raises(BadCheckpoint, match="TTM_READER_MEMORY_BYTES"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize(("name", "message"), [(".", "is a folder"), ("x.pth", "'x.pth' does not exist")])
def test_folders_and_missing_files_are_refused(tmp_path, name, message):
    for read in (read_weights, read_metadata):
        with pytest.raises(BadCheckpoint, match=message):
            read(tmp_path / name)


def test_reading_has_a_time_limit(tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "x.pth")
    monkeypatch.setenv("TTM_READER_SECONDS", "0.01")
    with pytest.raises(BadCheckpoint, match="TTM_READER_SECONDS"):
        read_weights(tmp_path / "x.pth")
