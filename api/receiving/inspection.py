"""Inspects uploaded checkpoints in a reader process."""

import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import IO

import structlog

from api.http.errors import ReaderUnavailable, TooManyInspections
from ttm_core.checkpoints.schema import Inspection, InspectionRequest
from ttm_core.errors import BadCheckpoint, EngineError
from ttm_core.reader.checkpoints.onnx_run import describe_onnx
from ttm_core.reader.limits import ReaderLimits
from ttm_core.reader.process import read_untrusted
from ttm_jobs.errors import UploadNotComplete
from ttm_jobs.models import Upload, UploadState
from ttm_jobs.storage import Storage

log = structlog.get_logger()

_MIB = 2**20
# Larger files are read in part: names and shapes are in these parts of every current format. The old format of
# torch.save is read whole.
_WHOLE_BYTES = 256 * _MIB
_HEAD_BYTES, _TAIL_BYTES = 64 * _MIB, 16 * _MIB
_CONCURRENT = 2
_WAIT_SECONDS = 20.0
_CACHED = 256
_LIMITS = ReaderLimits(memory_bytes=2**30, seconds=30.0)


@dataclass(frozen=True)
class UploadedFile:
    """A complete upload: what its bytes are, and where."""

    sha256: str
    size: int
    keys: Sequence[str]

    @classmethod
    def of(cls, upload: Upload, keys: Sequence[str]) -> "UploadedFile":
        """Raises UploadNotComplete."""
        if upload.state is not UploadState.COMPLETE or upload.sha256 is None or upload.size is None:
            raise UploadNotComplete
        return cls(upload.sha256, upload.size, keys)


class Inspector:
    """Inspects uploads, two at a time per process, and remembers the latest results."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._slots = BoundedSemaphore(_CONCURRENT)
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, str], Inspection] = OrderedDict()

    def inspect(self, file: UploadedFile, request: InspectionRequest) -> Inspection:
        """What the file is and which architectures its tensors fit. Runs an ONNX file once. Takes seconds.

        Raises:
            TooManyInspections: other inspections did not finish in time.
            ReaderUnavailable: the reader process was killed from outside.
        """
        key = (file.sha256, request.model_dump_json())
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        if not self._slots.acquire(timeout=_WAIT_SECONDS):
            raise TooManyInspections
        try:
            found = self._read(file, request)
        except EngineError as error:
            log.warning("a checkpoint was not inspected", error=error.message)
            raise ReaderUnavailable from error
        finally:
            self._slots.release()
        with self._lock:
            self._known[key] = found
            while len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return found

    def _read(self, file: UploadedFile, request: InspectionRequest) -> Inspection:
        small = file.size <= _WHOLE_BYTES
        found = self._read_copy(file, request, whole=small)
        if found.problem is not None and not small:
            # Other tools write the entries of a zip archive in another order.
            found = self._read_copy(file, request, whole=True)
        size = found.onnx and (found.onnx.image_size or request.image_size)
        if size and find_spec("onnxruntime") is not None:
            found = self._run(file, found, size)
        return found

    def _run(self, file: UploadedFile, found: Inspection, image_size: int) -> Inspection:
        """Runs an ONNX file once, as a job does before it trains."""
        with tempfile.NamedTemporaryFile(prefix="ttm-inspect-") as copy:
            _copy(self._storage, file, copy.file, whole=True)
            copy.flush()
            try:
                run = describe_onnx(Path(copy.name), image_size, most_seconds=_LIMITS.seconds)
            except BadCheckpoint as error:
                return found.model_copy(update={"problem": error.message})
        return found.model_copy(update={"onnx": run})

    def _read_copy(self, file: UploadedFile, request: InspectionRequest, *, whole: bool) -> Inspection:
        with tempfile.NamedTemporaryFile(prefix="ttm-inspect-") as copy:
            _copy(self._storage, file, copy.file, whole=whole)
            copy.flush()
            try:
                answer = read_untrusted(
                    "inspect",
                    {
                        "source": str(Path(copy.name)),
                        "request": request.model_dump(mode="json"),
                        "numbers": file.size <= _WHOLE_BYTES,
                    },
                    input_bytes=0,
                    file_bytes=0,
                    error=BadCheckpoint,
                    subject="The checkpoint",
                    reads=[copy.name],
                    limits=_LIMITS,
                )
            except BadCheckpoint as error:
                return Inspection(kind="unknown", problem=error.message)
        return Inspection.model_validate(answer)


def _copy(storage: Storage, file: UploadedFile, target: IO[bytes], *, whole: bool) -> None:
    """Writes a file of the upload's size. Unless `whole`, it has the beginning and end of the upload and a hole between
    them. Old pickles are always copied whole, because their numbers of elements are between the tensors.
    """
    pickled = b"".join(_range(storage, file, 0, 1)) == b"\x80"
    end = file.size if whole or pickled else min(_HEAD_BYTES, file.size)
    for chunk in _range(storage, file, 0, end):
        target.write(chunk)
    if (start := max(end, file.size - _TAIL_BYTES)) < file.size:
        target.seek(start)
        for chunk in _range(storage, file, start, file.size):
            target.write(chunk)


def _range(storage: Storage, file: UploadedFile, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to `end` of a file whose parts are separate objects."""
    at = 0
    for key in file.keys:
        size = file.size if len(file.keys) == 1 else storage.size(key)
        if at < end and at + size > start:
            yield from storage.open(key, max(start - at, 0), min(end - at, size))
        at += size
