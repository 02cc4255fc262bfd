"""Reads weights from untrusted files, and writes weights.

Reads safetensors, and pickles with torch.load(weights_only=True) without a fallback. Sizes in file headers are checked
against the stored bytes before memory is allocated.
"""

import argparse
import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from ttm_core.errors import ArchitectureMismatch, BadCheckpoint

METADATA_KEY = "ttm"
_COUNTER = "num_batches_tracked"
_LISTED_MODULES = 5

# Keys under which training scripts save weights; averaged weights first, as in timm.
_WEIGHT_KEYS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params"),
)
# Prefixes added by wrappers: DataParallel, torch.compile, averaged and Lightning models.
_PREFIXES = ("module.", "_orig_mod.", "ema.", "model.", "net.", "backbone.")
# Harmless values that training scripts save with the weights (arguments, the best accuracy).
_SAFE_VALUES = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
]
_GLOBAL = re.compile(r"GLOBAL (\S+)")


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint by name, the layout of the file, and the metadata if the project wrote it."""

    tensors: dict[str, torch.Tensor]
    layout: str
    metadata: dict[str, Any]


def read_weights(path: Path) -> Weights:
    """Reads a checkpoint in any common layout: a state dict, or one under `state_dict`, `model` or a similar key.

    Prefers averaged weights. Removes the prefixes of DataParallel, torch.compile and Lightning.

    Raises:
        BadCheckpoint: the file is unsafe, damaged or has another layout.
    """
    if path.stat().st_size < 16:
        raise BadCheckpoint("The checkpoint is empty or truncated.")
    if _is_safetensors(path):
        tensors, metadata = _read_safetensors(path)
        return Weights(_checked(_without_prefixes(tensors)), "safetensors", metadata)
    loaded = _read_torch(path)
    tensors, layout = _find_tensors(loaded)
    return Weights(_checked(_without_prefixes(tensors)), layout, {})


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Writes tensors and JSON metadata durably and atomically. Equal content gives equal bytes.

    The library writes metadata keys in random order, so all metadata is one JSON document under one key.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    document = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    write_durably(path, safetensors.torch.save(contiguous, {METADATA_KEY: document}))


def write_durably(path: Path, content: bytes) -> None:
    """Writes a file atomically and durably: after a crash, it has either the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_strictly(model: nn.Module, weights: Weights, architecture: str) -> None:
    """Copies the weights into the model. Only counters of batch norms may be missing.

    Raises:
        ArchitectureMismatch: a tensor is missing, unexpected or of another shape; the message groups them by module.
    """
    tensors = with_batch_counters(model, weights.tensors)
    if mismatch := describe_mismatch(model, tensors):
        raise ArchitectureMismatch(f"The checkpoint is not a {architecture}: {mismatch}")
    model.load_state_dict(tensors)


def with_batch_counters(model: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Adds missing `num_batches_tracked` counters as 0. PyTorch before 0.4.1 did not save them."""
    missing = {
        key: torch.zeros_like(value)
        for key, value in model.state_dict().items()
        if key.endswith(_COUNTER) and key not in tensors and key.removesuffix(_COUNTER) + "running_mean" in tensors
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
        keys = [key for key in keys if not key.endswith(_COUNTER)]
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
        described = ", ".join(map(_truncated, listed))
        described += f" and {more} more modules" if more else ""
        parts.append(f"{len(keys)} tensors {kind}: {described}")
    return "; ".join(parts)


def load_pickle_of_tensors(path: Path) -> Any:
    """Loads a pickle with weights_only after checking its sizes. Raises BadCheckpoint."""
    return _read_torch(path)


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(9)
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] <= path.stat().st_size


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            header = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  not a mapping
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise BadCheckpoint(f"The safetensors file cannot be read: {error}") from error
    try:
        metadata = json.loads(header.get(METADATA_KEY, "{}"))
    except ValueError:
        metadata = {}
    return tensors, metadata if isinstance(metadata, dict) else {}


def _read_torch(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_zip(path)
    try:
        with torch.serialization.safe_globals(_SAFE_VALUES):
            # Memory-mapped storages cannot grow, so a tensor larger than its storage raises an error.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        # torch's message recommends weights_only=False; only the name of the refused global is useful.
        refused = _GLOBAL.search(str(error))
        raise BadCheckpoint(
            "The checkpoint contains more than tensors "
            f"({refused[1] if refused else 'a damaged or unknown pickle'}) and is "
            "not loaded, because a pickle can run code. Save only the state dict, preferably as safetensors."
        ) from error
    except Exception as error:  # damaged pickles raise exceptions of any type
        raise BadCheckpoint(
            f"The checkpoint cannot be read: {_truncated(str(error)) or type(error).__name__}"
        ) from error


def _check_zip(path: Path) -> None:
    """Refuses TorchScript, overlapping entries, and compressed entries, which torch does not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise BadCheckpoint(f"The checkpoint is a damaged zip archive: {error}") from error
    if any(entry.filename.endswith(("constants.pkl", ".py")) or "/code/" in entry.filename for entry in entries):
        raise BadCheckpoint("The checkpoint is a TorchScript program. Save the state dict instead.")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise BadCheckpoint("The checkpoint has compressed entries, which torch.save does not write.")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise BadCheckpoint("The entries of the checkpoint claim more bytes than the file has.")


def _find_tensors(loaded: Any) -> tuple[dict[str, torch.Tensor], str]:
    if not isinstance(loaded, Mapping):
        raise BadCheckpoint(f"The checkpoint contains a {type(loaded).__name__}, not a state dict.")
    for key in _WEIGHT_KEYS:
        inner = loaded.get(key)
        if isinstance(inner, Mapping) and (found := _only_tensors(inner)):
            return found, key
    if found := _only_tensors(loaded):
        return found, "state dict"
    keys = ", ".join(map(repr, list(loaded)[:8]))
    raise BadCheckpoint(f"The checkpoint contains no state dict. Its keys: {keys or 'none'}")


def _only_tensors(candidate: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a state dict; empty if the candidate has values other than tensors, numbers and strings."""
    tensors = {k: v for k, v in candidate.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    others = [v for v in candidate.values() if not isinstance(v, torch.Tensor | int | float | bool | str | None)]
    return {} if others else tensors


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # torch's AveragedModel adds a counter.
    tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}
    while tensors:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _checked(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not tensors:
        raise BadCheckpoint("The checkpoint contains no tensors.")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise BadCheckpoint(f"Tensor {name!r} is sparse, quantized or complex.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise BadCheckpoint(f"Tensor {name!r} claims {tensor.numel():,} elements, more than the file contains.")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadCheckpoint(f"Tensor {name!r} has NaN or infinite values.")
    return tensors


def _truncated(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."
