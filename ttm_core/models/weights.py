"""Reading weights from files of strangers, and writing our own.

Only safetensors, or torch.load with weights_only=True and never a fallback. What a file claims is held against what it
stores before anything is allocated for it.
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

from ttm_core.errors import BadCheckpoint

METADATA_KEY = "ttm"

# Where training scripts put the weights in what they save; averaged copies first, as timm prefers them.
_WEIGHT_KEYS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params"),
)
# What wrappers put before every name: DataParallel, torch.compile, averaged and Lightning models.
_PREFIXES = ("module.", "_orig_mod.", "ema.", "model.", "net.", "backbone.")
# Harmless values that the field's scripts save beside the weights (arguments, a best accuracy).
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
    """A model's tensors by name, what layout they were found in, and what our own files say of themselves."""

    tensors: dict[str, torch.Tensor]
    layout: str
    metadata: dict[str, Any]


def read_weights(path: Path) -> Weights:
    """Read a checkpoint in any layout that the field writes. Raises BadCheckpoint for all else.

    Layouts: bare state dict; nested under `state_dict`, `model` and the like; averaged copies (preferred); names with
    DataParallel, torch.compile or Lightning prefixes.
    """
    if path.stat().st_size < 16:
        raise BadCheckpoint("the checkpoint is empty or truncated")
    if _is_safetensors(path):
        tensors, metadata = _read_safetensors(path)
        return Weights(_checked(_without_prefixes(tensors)), "safetensors", metadata)
    loaded = _read_torch(path)
    tensors, layout = _find_tensors(loaded)
    return Weights(_checked(_without_prefixes(tensors)), layout, {})


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able metadata so that equal content gives equal bytes; durable and whole, or absent.

    The library writes its metadata in random order, so it stands here as one JSON document under one key.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    document = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    write_durably(path, safetensors.torch.save(contiguous, {METADATA_KEY: document}))


def write_durably(path: Path, content: bytes) -> None:
    """A temporary file, synced, then renamed: after a crash the path holds the old content or the new, whole."""
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


def load_pickle_of_tensors(path: Path) -> Any:
    """torch.load with weights_only, after the file's claims were checked. Raises BadCheckpoint."""
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
        raise BadCheckpoint(f"the safetensors file cannot be read: {error}") from error
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
            # Mapped storages cannot grow, so a tensor that claims more than its storage holds is an error there.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        # torch's own message advises weights_only=False; only the name of what it met is of use.
        met = _GLOBAL.search(str(error))
        raise BadCheckpoint(
            f"the checkpoint holds more than tensors ({met[1] if met else 'a damaged or foreign pickle'}) and is not "
            "loaded, since a pickle can run code: save the state dict alone, best as safetensors"
        ) from error
    except Exception as error:  # a damaged pickle makes the unpickler fail in any way at all
        raise BadCheckpoint(f"the checkpoint cannot be read: {_brief(str(error)) or type(error).__name__}") from error


def _check_zip(path: Path) -> None:
    """Refuse TorchScript, compressed entries (torch writes none, bombs do) and entries that overlap."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise BadCheckpoint(f"the checkpoint is a damaged zip archive: {error}") from error
    if any(entry.filename.endswith(("constants.pkl", ".py")) or "/code/" in entry.filename for entry in entries):
        raise BadCheckpoint("the checkpoint is TorchScript, which is a program: save the state dict instead")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise BadCheckpoint("the checkpoint has compressed entries, which torch.save does not write")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise BadCheckpoint("the checkpoint's entries claim more bytes than the file has")


def _find_tensors(loaded: Any) -> tuple[dict[str, torch.Tensor], str]:
    if not isinstance(loaded, Mapping):
        raise BadCheckpoint(f"the checkpoint holds a {type(loaded).__name__}, not a state dict")
    for key in _WEIGHT_KEYS:
        inner = loaded.get(key)
        if isinstance(inner, Mapping) and (found := _only_tensors(inner)):
            return found, key
    if found := _only_tensors(loaded):
        return found, "state dict"
    keys = ", ".join(map(repr, list(loaded)[:8]))
    raise BadCheckpoint(f"no state dict was found in the checkpoint; its keys are {keys or 'none'}")


def _only_tensors(candidate: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    """The candidate's tensors, if it is a state dict: named tensors and nothing else but numbers."""
    tensors = {k: v for k, v in candidate.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    others = [v for v in candidate.values() if not isinstance(v, torch.Tensor | int | float | bool | str | None)]
    return {} if others else tensors


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # AveragedModel keeps a counter beside the wrapped names.
    tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}
    while tensors:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _checked(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not tensors:
        raise BadCheckpoint("the checkpoint holds no tensors")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise BadCheckpoint(f"tensor {name!r} is sparse, quantized or complex")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise BadCheckpoint(f"tensor {name!r} claims {tensor.numel():,} elements, more than it stores")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadCheckpoint(f"tensor {name!r} has NaN or infinite values")
    return tensors


def _brief(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."
