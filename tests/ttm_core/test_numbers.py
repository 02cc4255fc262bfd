"""The numbers of a checkpoint are checked without PyTorch as the engine checks them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ttm_core.checkpoints.kinds import Kind
from ttm_core.errors import BadCheckpoint
from ttm_core.models.weights import read_weights
from ttm_core.reader.checkpoints.numbers import check_numbers

KINDS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn)
INFINITE = [float("nan"), float("inf"), float("-inf")]


def _legacy(state: dict[str, Any], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("write", "form"), [(torch.save, "torch"), (_legacy, "torch"), (safetensors.torch.save_file, "safetensors")]
)
def test_nan_and_infinite_values_are_found(
    tmp_path: Path, write: Callable[..., None], form: Kind, kind: torch.dtype
) -> None:
    path = tmp_path / "x"
    finite = torch.cat([torch.tensor([0.0, -1.5]), torch.full((2_000_000,), 2.0)])
    limits = torch.finfo(torch.float32 if kind == torch.float64 else kind)
    largest = torch.tensor([limits.max, limits.min, 0.0], dtype=torch.float64).to(kind)
    good = {"a.x": finite.to(kind), "a.largest": largest, "a.count": torch.tensor([2**31 - 1, -1])}
    names = {name.removeprefix("a."): name for name in good}
    write(good, path)
    check_numbers(path, form, names)
    for value in INFINITE:
        bad = good["a.x"].clone()
        bad[-1] = value
        if kind == torch.float8_e4m3fn and bad[-1:].float().isfinite():
            continue  # the type has no infinite values
        write({**good, "a.x": bad}, path)
        with pytest.raises(BadCheckpoint, match=r"^Tensor 'x' has NaN or infinite values"):
            check_numbers(path, form, names)
        with pytest.raises(BadCheckpoint, match="has NaN or infinite values"):
            read_weights(path)
        check_numbers(path, form, {"largest": "a.largest"})


@pytest.mark.parametrize(
    ("write", "form"), [(torch.save, "torch"), (_legacy, "torch"), (safetensors.torch.save_file, "safetensors")]
)
def test_float64_values_beyond_float32_are_found(tmp_path: Path, write: Callable[..., None], form: Kind) -> None:
    infinite = 2.0**128 - 2.0**103  # the smallest number that is infinite in float32
    for value in (math.nextafter(infinite, 0), -math.nextafter(infinite, 0), infinite, -infinite, -1e300):
        write({"x": torch.tensor([0.0, value, -1.5], dtype=torch.float64)}, tmp_path / "x")
        if abs(value) < infinite:
            check_numbers(tmp_path / "x", form, {"x": "x"})
            assert read_weights(tmp_path / "x").tensors["x"].float().isfinite().all()
            continue
        with pytest.raises(BadCheckpoint, match=r"^Tensor 'x' has float64 values beyond the range of float32"):
            check_numbers(tmp_path / "x", form, {"x": "x"})
        with pytest.raises(BadCheckpoint, match=r"^Tensor 'x' has float64 values beyond the range of float32"):
            read_weights(tmp_path / "x")


def test_views_of_a_storage_are_checked_without_its_other_elements(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    whole[:, 3] = float("nan")
    torch.save({"x": whole[:, :3], "y": whole.T[2:]}, tmp_path / "x")
    check_numbers(tmp_path / "x", "torch", {"x": "x"})
    with pytest.raises(BadCheckpoint, match="'y'"):
        check_numbers(tmp_path / "x", "torch", {"y": "y"})
