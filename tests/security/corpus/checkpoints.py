"""Teacher checkpoints that are damaged, have wrong metadata, or contain code. The code would create the path `mark`."""

import collections
import gzip
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from tests.security.corpus.pickles import nested_keys
from tests.support.bombs import checkpoint_bomb
from tests.support.models import create_model

ARCHITECTURE = "mini/resnet8_025"
CLASSES = 2
Make = Callable[[Path, Path], None]


def state(classes: int = CLASSES, architecture: str = ARCHITECTURE) -> dict[str, torch.Tensor]:
    return dict(create_model(architecture, num_classes=classes).state_dict())


class _Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


class _Stated:
    """A tensor of any shape and strides, with a storage of four elements."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self._layout = shape, strides

    def __reduce__(self) -> Any:
        storage = torch.storage.TypedStorage(
            wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
        )
        return torch._utils._rebuild_tensor_v2, (storage, 0, *self._layout, False, collections.OrderedDict())


def _saved(content: Callable[[Path], Any], *, zipped: bool = True) -> Make:
    return lambda path, mark: torch.save(content(mark), path, _use_new_zipfile_serialization=zipped)


def _bytes(content: bytes | Callable[[Path], bytes]) -> Make:
    def make(path: Path, mark: Path) -> None:
        path.write_bytes(content(mark) if callable(content) else content)

    return make


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Make:
    def make(path: Path, mark: Path) -> None:
        tensors = state()
        change(tensors)
        safetensors.torch.save_file(tensors, path)

    return make


def _safetensors(header: Any, data: bytes = bytes(64), length: int | None = None) -> Make:
    def make(path: Path, mark: Path) -> None:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)

    return make


def _cut(share: float, *, zipped: bool) -> Make:
    def make(path: Path, mark: Path) -> None:
        if zipped:
            torch.save(state(), path)
        else:
            safetensors.torch.save_file(state(), path)
        os.truncate(path, int(path.stat().st_size * share))

    return make


def _bomb_with_end(end: bytes, start: bytes = b"", method: int = zipfile.ZIP_DEFLATED) -> Make:
    """A compressed bomb of 400 MB that only some readers recognize as a zip archive."""
    return _bytes(lambda mark: start + checkpoint_bomb(100_000_000, method) + end)


def _pickled(content: bytes, where: str) -> Make:
    """The pickle as a zip archive, in the legacy format, or alone."""
    if where == "zip":
        return _entries({"x/data.pkl": content, "x/version": b"3"})
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return _bytes(head + content + pickle.dumps([], 2) if where == "legacy" else content)


def _shared(names: int, elements: int, *, zipped: bool) -> Make:
    def content(mark: Path) -> dict[str, torch.Tensor]:
        storage = torch.zeros(elements)
        return {f"w{number}": storage[:] for number in range(names)}

    return _saved(content, zipped=zipped)


def _nested_metadata(depth: int) -> bytes:
    return b'{"__metadata__":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


def _entries(content: Mapping[str, bytes], twice: str | None = None) -> Make:
    def make(path: Path, mark: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            # zipfile warns about the duplicate entry.
            warnings.simplefilter("ignore", UserWarning)
            for name in (*content, *([twice] if twice else [])):
                archive.writestr(name, content[name])

    return make


def _script(path: Path, mark: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x/data.pkl", "x/constants.pkl", "x/code/__torch__.py", "x/version"):
            archive.writestr(name, b"x" * 20)


def _system(mark: Path) -> bytes:
    return b"cposix\nsystem\n(S'mkdir " + os.fsencode(mark) + b"'\ntR."


def _laughs(mark: Path) -> bytes:
    """Billion laughs: each list contains the previous list ten times."""
    content = b"]q\x00" + b"".join(
        b"]q" + bytes([depth]) + b"(" + b"h" + bytes([depth - 1]) + (b"h" + bytes([depth - 1])) * 9 + b"e"
        for depth in range(1, 60)
    )
    return b"\x80\x02" + content + b"."


def _entry(dtype: str, shape: Any, start: Any, end: Any, name: str = "a") -> dict[str, Any]:
    return {name: {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}}


def _set(name: str, value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        first = next(key for key in tensors if key.endswith("weight"))
        tensors[first].view(-1)[0] = value

    return change


CASES: dict[str, Make] = {
    **{
        f"code, {how}, {where}": _saved(
            lambda mark, where=where: (
                _Calls(os.mkdir, str(mark))
                if where == "bare"
                else {"state_dict": state(), "x": _Calls(os.mkdir, str(mark))}
            ),
            zipped=how == "zip",
        )
        for how in ("zip", "legacy")
        for where in ("bare", "in a state dict")
    },
    "code, plain pickle": _bytes(lambda mark: pickle.dumps(_Calls(os.mkdir, str(mark)))),
    "code, opcodes": _bytes(_system),
    "code, eval": _saved(lambda mark: _Calls(eval, f"__import__('os').mkdir({str(mark)!r})")),
    "code, getattr": _saved(lambda mark: {"a": _Calls(getattr, "", "__class__")}),
    "code, torch.load within": _saved(lambda mark: _Calls(torch.load, str(mark))),
    "TorchScript": _script,
    "compressed bomb": _bytes(lambda mark: checkpoint_bomb(10_000_000)),
    "claims more, zip": _saved(lambda mark: {"a": _Stated((10**8,), (1,))}),
    "claims more, legacy": _saved(lambda mark: {"a": _Stated((10**8,), (1,))}, zipped=False),
    "no strides": _saved(lambda mark: {"a": torch.zeros(1).expand(10**9)}),
    **{
        f"compressed bomb, {kind}": _bomb_with_end(*parts)
        for kind, parts in {
            "a second end": (b"PK\5\6",),
            "an empty archive behind": (b"PK\5\6" + bytes(18),),
            "text behind": (b"x" * 70_000,),
            "text before": (b"", b"x" * 100),
            "a pickle before": (b"PK\5\6", b"\x80\x02}."),
            "bzip2": (b"PK\5\6", b"", zipfile.ZIP_BZIP2),
            "xz": (b"PK\5\6", b"", zipfile.ZIP_LZMA),
        }.items()
    },
    **{
        f"keys of nested tuples, {container.decode()}, depth {depth}, {where}": _pickled(
            nested_keys(depth, container), where
        )
        for depth, container, where in (
            (24, b"dict", "zip"),
            (24, b"dict", "legacy"),
            (40, b"dict", "zip"),
            (40, b"dict of several", "legacy"),
            (100, b"set", "zip"),
            (100, b"frozenset", "legacy"),
            (200, b"dict", "plain"),
        )
    },
    **{
        f"nested {kind}, {where}": _pickled(b"\x80\x02" + start * 190_000 + b"N" + end * 190_000 + b".", where)
        for kind, start, end in (("tuples", b"", b"\x85"), ("lists", b"](", b"e"), ("calls", b"", b"\x85Q"))
        for where in ("zip", "legacy")
    },
    **{
        f"{names:,} names for one storage, {'zip' if zipped else 'legacy'}": _shared(names, 1_000_000, zipped=zipped)
        for names, zipped in ((3_000, True), (3_000, False), (50, True))
    },
    **{
        f"element type {kind}": _safetensors(_entry(kind, [16], 0, size), bytes(size))
        for kind, size in (("F4", 8), ("F6_E2M3", 12), ("F6_E3M2", 12), ("F8_E8M0", 16), ("C64", 128))
    },
    **{
        f"{sides} dimensions": _safetensors(_entry("F32", [1] * sides, 0, 4), bytes(4))
        for sides in (65, 1_000, 100_000)
    },
    "60 dimensions, zip": _saved(lambda mark: {"a": torch.zeros((1,) * 60)}),
    **{f"metadata nested {depth:,} times": _safetensors(_nested_metadata(depth)) for depth in (2, 120, 50_000)},
    "complex": _saved(lambda mark: {"a": torch.zeros(2, dtype=torch.complex64)}),
    "sparse": _saved(lambda mark: {"a": torch.ones(2).to_sparse()}),
    "names of a megabyte, zip": _saved(lambda mark: {"a" * (1 << 20): torch.zeros(2)}),
    "billion laughs": _bytes(_laughs),
    "opcodes without end": _bytes(b"\x80\x02" + b"]0" * 250_000 + b"}."),
    "opcodes without end, zip": _entries({"x/data.pkl": b"\x80\x02" + b"]0" * 250_000 + b"}.", "x/version": b"3"}),
    "a memo far away": _bytes(b"\x80\x02}r\xff\xff\xff\x7f."),
    "a text longer than the file": _bytes(b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a."),
    "a number of a megabyte": _bytes(b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b"."),
    "a great many entries": _entries({"x/data.pkl": b"\x80\x02}.", **{f"x/data/{n}": b"" for n in range(20_000)}}),
    "an entry twice": _entries({"x/data.pkl": b"\x80\x02}.", "x/version": b"3"}, twice="x/data.pkl"),
    "empty": _bytes(b""),
    "zeros": _bytes(bytes(4096)),
    "text": _bytes(b"<!doctype html><title>Not found</title>" * 20),
    "gzip": _bytes(gzip.compress(bytes(100_000))),
    "cut, zip": _cut(0.7, zipped=True),
    "cut, safetensors": _cut(0.7, zipped=False),
    "cut, header": _cut(0.01, zipped=False),
    "header longer than the file": _safetensors({}, length=2**62),
    "header that is no JSON": _safetensors(b"{" + b"\xff" * 40),
    "header of spaces": _safetensors(b"{" + b" " * 10_000_000 + b"}"),
    "header twice the same name": _safetensors(
        b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},' * 2 + b'"b":{}}'
    ),
    "a name of a megabyte": _safetensors(_entry("F32", [16], 0, 64, name="a" * (1 << 20))),
    "a name of NULs and escapes": _safetensors(_entry("F32", [16], 0, 64, name="\0\x1b[2J\ud800")),
    "header nested": _safetensors(b'{"a":' * 50_000),
    "header of the wrong shape": _safetensors({"a": []}),
    "no elements, sides beyond counting": _safetensors(_entry("F32", [0, 2**62, 2**62], 0, 0), b""),
    **{
        f"no elements, sides beyond counting, {'zip' if zipped else 'legacy'}": _saved(
            lambda mark: {"a": _Stated((0, 2**62, 2**62), (1, 1, 1))}, zipped=zipped
        )
        for zipped in (True, False)
    },
    "offsets outside": _safetensors(_entry("F32", [16], 0, 10**15)),
    "offsets backwards": _safetensors(_entry("F32", [16], 64, 0)),
    "offsets below zero": _safetensors(_entry("F32", [16], -64, 0)),
    "a shape beyond counting": _safetensors(_entry("F32", [2**62, 2**62], 0, 64)),
    "an unknown type": _safetensors(_entry("F1024", [16], 0, 64)),
    "overlapping": _safetensors(
        {**_entry("F32", [16], 0, 64), "b": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}}
    ),
    "no tensors": _safetensors({"__metadata__": {"ttm": "[]"}}, b""),
    "NaN": _tensors(_set("weight", float("nan"))),
    "infinity": _tensors(_set("weight", float("inf"))),
    "wrong shapes": _tensors(
        lambda tensors: tensors.update({key: value.new_zeros(3) for key, value in list(tensors.items())[:1]})
    ),
    "missing keys": _tensors(lambda tensors: [tensors.pop(key) for key in list(tensors)[:4]]),
    "extra keys": _tensors(lambda tensors: tensors.update({"more.weight": torch.zeros(3)})),
    "another architecture": lambda path, mark: safetensors.torch.save_file(state(architecture="cifar/resnet8"), path),
    "another number of classes": lambda path, mark: safetensors.torch.save_file(state(classes=5), path),
    "no state dict": _saved(lambda mark: {"epoch": 3}),
    "NumPy arrays": _saved(lambda mark: {key: value.numpy() for key, value in state().items()}),
    "a list": _saved(lambda mark: [torch.zeros(3)]),
}
