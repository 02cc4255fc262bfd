"""Reads weights from untrusted files, and writes weights.

A reader process (`ttm_core.reader`) checks safetensors files and converts files of torch.save to safetensors. Nothing
is unpickled in this process.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from ttm_core.checkpoints.key_map import KeyMap
from ttm_core.checkpoints.kinds import kind_of
from ttm_core.checkpoints.models_in import choose_model, layout_of
from ttm_core.checkpoints.signatures import COUNTER, Signature
from ttm_core.errors import ArchitectureMismatch, BadCheckpoint, beyond_float32, not_finite, truncated
from ttm_core.files.durable import write_durably
from ttm_core.reader.process import read_untrusted
from ttm_core.spec.structure import METADATA_KEY

_LISTED_MODULES = 5
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Weights:
    """The tensors of a model in a checkpoint by name, and the metadata of the file if the project wrote it."""

    tensors: dict[str, torch.Tensor]
    layout: str
    """Key of the model in the file, or the format of a file that is one state dict."""
    metadata: dict[str, Any]
    key: str | None = None
    """The key that selects the model, in a file with several."""


def read_weights(
    path: Path,
    *,
    key: str | None = None,
    signature: Signature | None = None,
    key_map: KeyMap | None = None,
    needs_classifier: bool = True,
) -> Weights:
    """Reads one model of a checkpoint in any common layout: a state dict, or several under keys or prefixes.

    Of several models, reads the one that fits the architecture best, and prefers averaged weights. Removes the prefixes
    of DataParallel, torch.compile and Lightning.

    Args:
        path: the file.
        key: `checkpoint_key` of the spec.
        signature: of the architecture, if it is known.
        key_map: renames for this architecture.
        needs_classifier: whether the model must have the classifier of the architecture.

    Raises:
        BadCheckpoint: the file is unsafe, damaged or has another layout.
        BadSpec: the file has no model with the key, or the key map applies to none.
    """
    _check_file(path)
    with tempfile.TemporaryDirectory(prefix="ttm-weights-") as folder:
        converted = Path(folder) / "weights.safetensors"
        kind = kind_of(path)
        if kind == "safetensors":
            roots, source, metadata = _check(path), path, _read_metadata(path)
        else:
            roots, source, metadata = _check(path, converted), converted, {}
        with _opened(source) as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            models = choose_model(
                shapes, roots, key=key, signature=signature, key_map=key_map, needs_classifier=needs_classifier
            )
            names = models[0].names if models else {}
            tensors = {name: opened.get_tensor(full) for name, full in names.items()}
    several = len(models) > 1 and models[0].key
    layout = layout_of("safetensors" if kind == "safetensors" else "torch", models)
    return Weights(_checked(tensors), layout, metadata, models[0].key if several else None)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata that the project wrote into a safetensors file; empty for other files. Reads no tensors.

    Raises:
        BadCheckpoint: the safetensors file is damaged.
    """
    _check_file(path)
    if kind_of(path) != "safetensors":
        return {}
    _check(path)
    return _read_metadata(path)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise BadCheckpoint(f"The checkpoint {path.name!r} is a folder. Name the file with the weights.")
    if not path.exists():
        raise BadCheckpoint(f"The checkpoint {path.name!r} does not exist.")
    if path.stat().st_size < 16:
        raise BadCheckpoint("The checkpoint is empty or truncated.")


def _check(path: Path, target: Path | None = None) -> list[str]:
    """Checks a safetensors file, or converts another checkpoint to `target`, in a reader process: the prefix of the
    names of each state dict.
    """
    size = path.stat().st_size
    roots: list[str] = read_untrusted(
        "safetensors" if target is None else "checkpoint",
        {"source": str(path.resolve()), "target": str(target)},
        input_bytes=size,
        file_bytes=4 * size + 2**24,
        error=BadCheckpoint,
        subject="The checkpoint",
        reads=[path],
        writes=[] if target is None else [target.parent],
    )
    return roots


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Writes tensors and JSON metadata durably and atomically. Equal content gives equal bytes.

    The library writes metadata keys in random order, so all metadata is one JSON document under one key.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    document = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    write_durably(path, safetensors.torch.save(contiguous, {METADATA_KEY: document}))


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        content = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {content.dtype} {tuple(content.shape)}".encode())
        digest.update(content.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_strictly(model: nn.Module, weights: Weights, architecture: str) -> None:
    """Copies the weights into the model. Only counters of batch norms may be missing.

    Raises:
        ArchitectureMismatch: a tensor is missing, unexpected or of another shape; the message groups them by module.
    """
    tensors = with_batch_counters(model, weights.tensors)
    if mismatch := describe_mismatch(model, tensors):
        raise ArchitectureMismatch(f"The checkpoint is not a {architecture}: {mismatch}")
    # Some of torchvision's models read the version in the metadata of a state dict.
    state = model.state_dict()
    state.update(tensors)
    model.load_state_dict(state)


def check_variances(model: nn.Module) -> None:
    """Raises BadCheckpoint for a batch norm with a negative variance: its outputs are NaN in evaluation mode."""
    for name, module in model.named_modules():
        variance = getattr(module, "running_var", None)
        if isinstance(variance, torch.Tensor) and bool((variance < -getattr(module, "eps", 0.0)).any()):
            raise BadCheckpoint(
                f"Tensor {truncated(f'{name}.running_var')!r} has negative values, but a variance is at least 0: the "
                "model would return NaN. Save the checkpoint again from a model that works in evaluation mode."
            )


def with_batch_counters(model: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Adds missing `num_batches_tracked` counters as 0. PyTorch before 0.4.1 did not save them."""
    missing = {
        key: torch.zeros_like(value)
        for key, value in model.state_dict().items()
        if key.endswith(COUNTER) and key not in tensors and key.removesuffix(COUNTER) + "running_mean" in tensors
    }
    return tensors | missing


def describe_mismatch(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> str:
    """The tensors that do not fit the model, in one line of bounded length; empty if all fit.

    Modules with parameters are listed before those with statistics only. Counters of batch norms are never listed.
    """
    expected = model.state_dict()
    parameters = {name for name, _ in model.named_parameters()}
    parts = []
    for kind, keys in (
        ("missing", [key for key in expected if key not in tensors]),
        ("unexpected", [key for key in tensors if key not in expected]),
        ("of another shape", [key for key in expected if key in tensors and tensors[key].shape != expected[key].shape]),
    ):
        keys = [key for key in keys if not key.endswith(COUNTER)]
        if not keys:
            continue
        keys.sort(key=lambda key: key.endswith(("running_mean", "running_var")) and key not in parameters)
        by_module: dict[str, list[str]] = {}
        for key in keys:
            module, _, name = key.rpartition(".")
            shapes = f" {list(tensors[key].shape)} instead of {list(expected[key].shape)}" if "shape" in kind else ""
            by_module.setdefault(module or "(root)", []).append(name + shapes)
        listed = [f"{module} ({', '.join(names)})" for module, names in by_module.items()][:_LISTED_MODULES]
        more = len(by_module) - len(listed)
        described = ", ".join(map(truncated, listed))
        described += f" and {more} more modules" if more else ""
        parts.append(f"{len(keys)} tensors {kind}: {described}")
    return "; ".join(parts)


def _read_metadata(path: Path) -> dict[str, Any]:
    with _opened(path) as opened:
        header = opened.metadata() or {}
    try:
        metadata = json.loads(header.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open safetensors file. Raises BadCheckpoint for errors of the library within the block."""
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            yield opened
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError, TypeError) as error:
        raise BadCheckpoint(f"The safetensors file cannot be read: {truncated(str(error))}") from error


def _checked(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not tensors:
        raise BadCheckpoint("The checkpoint contains no tensors.")
    tensors = {name: tensor.float() if tensor.dtype in _FLOAT8 else tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise not_finite(name)
        if tensor.dtype == torch.float64 and not bool(torch.isfinite(tensor.float()).all()):
            raise beyond_float32(name)
    return tensors
