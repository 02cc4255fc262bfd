"""Reads pickles of torch.save as data: tensors become descriptions, and nothing in the pickle is called.

Standard library only. Follows torch/_weights_only_unpickler.py and torch/_utils.py of PyTorch 2.
"""

import math
import struct
from dataclasses import dataclass
from typing import IO, Any

from ttm_core.errors import BadCheckpoint
from ttm_core.reader.pickles.data_unpickler import DataUnpickler, checked_key

_MAX_DIMENSIONS = 16
_MAX_TEXT = 200

# Element types of safetensors by their names in torch, as storages and as dtypes.
STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "UntypedStorage": "U8",
    "ComplexFloatStorage": "", "ComplexDoubleStorage": "",
    "QInt8Storage": "", "QUInt8Storage": "", "QInt32Storage": "", "QUInt4x2Storage": "", "QUInt2x4Storage": "",
}  # fmt: skip
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "uint16": "U16", "uint32": "U32", "uint64": "U64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Storage:
    """A storage in the file. `item_bytes` is the element size of its declared type."""

    key: str
    kind: str
    elements: int
    offset: int = 0  # of a view within its root storage, in elements

    @property
    def item_bytes(self) -> int:
        return ITEM_BYTES.get(self.kind, 1)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor in the file: shape, strides and offset in elements. `kind` is a type of safetensors."""

    storage: Storage
    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def elements(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def bytes(self) -> int:
        return self.elements * ITEM_BYTES.get(self.kind, 1)


class Unsupported:
    """A sparse, quantized or complex tensor."""

    __slots__ = ()


class _Ignored:
    """Replaces harmless values that training scripts save with the weights. Keeps nothing."""

    __slots__ = ()

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class Array(_Ignored):
    """A NumPy array. Its elements are dropped."""

    __slots__ = ()


class _Dict(dict[Any, Any]):
    """Replaces OrderedDict and its relatives. Their attributes are dropped."""

    def __init__(self, *arguments: object) -> None:
        pairs = arguments[0] if arguments else ()
        if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
            pairs = ()
        super().__init__()
        for key, value in pairs:
            self[checked_key(key)] = value

    def __setstate__(self, state: object) -> None:
        pass


@dataclass(frozen=True)
class _Name:
    """A type, dtype or function by its name in torch. Calling it is up to the unpickler."""

    name: str


_ORDERED = {("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "Counter")}
_IGNORED = {
    ("argparse", "Namespace"),
    ("types", "SimpleNamespace"),
    # Python 3.13 has the classes in the second module.
    *((module, f"{system}Path") for module in ("pathlib", "pathlib._local") for system in ("Posix", "Windows")),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *(
        ("numpy.dtypes", f"{kind}DType")
        for kind in ("Float16", "Float32", "Float64", "Int32", "Int64", "UInt8", "Bool")
    ),
    ("torch", "device"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("_codecs", "encode"),
}
_ARRAYS = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
_BUILDERS = {
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_qtensor"),
}
# Dtypes without an equivalent in safetensors.
_OTHER_DTYPES = ("complex", "qint", "quint", "float4", "float8", "uint", "int", "bits")
_TYPES = {("torch", "Tensor"), ("torch.nn.parameter", "Parameter"), ("torch", "Parameter")}


class _Call(_Name):
    """A function of torch that rebuilds a tensor."""

    def __call__(self, *arguments: Any) -> Any:
        match self.name, arguments:
            case "_rebuild_tensor" | "_rebuild_tensor_v2", (Storage() as storage, offset, shape, strides, *_):
                return _tensor(storage, storage.kind, offset, shape, strides)
            case "_rebuild_tensor_v3", (Storage() as storage, offset, shape, strides, _, _, _Name() as dtype, *_):
                return _tensor(storage, _DTYPES.get(dtype.name, ""), offset, shape, strides)
            case "_rebuild_parameter" | "_rebuild_parameter_with_state", (Tensor() | Unsupported() as data, *_):
                return data
            case "_rebuild_from_type_v2", (_Call() as build, _Name(), tuple() as inner, *_):
                return Unsupported() if build.name == self.name else build(*inner)
            case "_rebuild_sparse_tensor" | "_rebuild_qtensor", _:
                return Unsupported()
        raise BadCheckpoint("The checkpoint contains a tensor whose description is damaged.")


def _tensor(storage: Storage, kind: str, offset: Any, shape: Any, strides: Any) -> Tensor | Unsupported:
    if isinstance(shape, _Ignored):
        raise BadCheckpoint("The checkpoint contains a tensor without a shape.")
    numbers = [offset, *shape, *strides] if isinstance(shape, tuple) and isinstance(strides, tuple) else [None]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers) or len(shape) != len(strides):
        raise BadCheckpoint("The checkpoint contains a tensor with an invalid shape.")
    if math.prod(max(side, 1) for side in shape) >= 2**63:  # PyTorch computes strides also of tensors without elements
        raise BadCheckpoint("The checkpoint contains a tensor with a shape that is too large.")
    if len(shape) > _MAX_DIMENSIONS:
        raise BadCheckpoint(f"The checkpoint contains a tensor with more than {_MAX_DIMENSIONS} dimensions.")
    return Tensor(storage, kind, offset, shape, strides) if kind else Unsupported()


class _Unpickler(DataUnpickler):
    """Unpickles a file of torch.save into dicts, lists, numbers, text and `Tensor`."""

    def __init__(self, stream: IO[bytes], storages: dict[str, Storage]) -> None:
        super().__init__(stream, encoding="utf-8", errors="replace")
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        where = module, name
        if where in _ORDERED:
            return _Dict
        if where in _IGNORED:
            return _Ignored
        if where in _ARRAYS:
            return Array
        if where in _BUILDERS:
            return _Call(name)
        if where in _TYPES or (module == "torch" and (name in _DTYPES or name in STORAGES)):
            return _Name(name)
        if where in {("torch.storage", kind) for kind in ("UntypedStorage", "TypedStorage", "_LegacyStorage")}:
            return _Name("UntypedStorage")
        if module == "torch" and name.startswith(_OTHER_DTYPES):
            return _Name(name)
        if module == "torch" and name in ("strided", "sparse_coo", "sparse_csr", "per_tensor_affine"):
            return _Ignored()
        raise BadCheckpoint(
            f"The checkpoint contains more than tensors ({module[:_MAX_TEXT]}.{name[:_MAX_TEXT]}) and is not loaded, "
            "because a pickle can run code. Save only the state dict, preferably as safetensors."
        )

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            case ("storage", _Name(name=name), str() as key, _, int() as elements, *rest):
                storage = Storage(key, STORAGES.get(name, ""), elements)
                self._storages.setdefault(key, storage)
                match rest:
                    case [] | [None]:
                        return storage
                    case [(str(), int() as offset, int() as size)]:
                        return Storage(key, storage.kind, size, offset)
        raise BadCheckpoint("The checkpoint contains a damaged reference to a storage.")

    def may_call(self, function: object) -> bool:
        return isinstance(function, _Call) or any(function is allowed for allowed in (_Dict, _Ignored, Array, set))


def unpickle(stream: IO[bytes], storages: dict[str, Storage] | None = None) -> Any:
    """Reads one pickle from the stream and adds the storages that it refers to. Raises BadCheckpoint."""
    try:
        return _Unpickler(stream, {} if storages is None else storages).load()
    except (BadCheckpoint, MemoryError):
        raise
    except (EOFError, struct.error) as error:
        raise BadCheckpoint("The checkpoint is truncated.") from error
    except KeyError as error:  # an unknown opcode
        raise BadCheckpoint(
            "The checkpoint cannot be read: it is no file of torch.save or safetensors, or it is damaged."
        ) from error
    except Exception as error:  # damaged pickles raise exceptions of any type
        raise BadCheckpoint(
            f"The checkpoint cannot be read: {type(error).__name__}: {str(error)[:_MAX_TEXT]}"
        ) from error
