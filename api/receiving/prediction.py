"""Runs a job's ONNX files on an image in a reader process."""

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore

import structlog

from api.http.errors import ReaderUnavailable, TooManyPredictions
from ttm_core.errors import BadImage, EngineError
from ttm_core.reader.limits import ReaderLimits
from ttm_core.reader.process import read_untrusted
from ttm_core.spec.damage.single_prediction import Prediction
from ttm_jobs.errors import Invalid, ServiceError
from ttm_jobs.storage import Storage

log = structlog.get_logger()

_CONCURRENT = 2
_WAIT_SECONDS = 10.0
_MEMORY_BYTES = 3 * 2**30
_SECONDS = 60.0


class UnreadableImage(Invalid):
    """The image cannot be decoded, has more than 25 megapixels, or its models exceed the limit on memory."""

    code = "unreadable_image"


class PredictionTimeout(ServiceError):
    """The models did not answer within a minute. Try again when the service is less busy."""

    status = 504
    code = "prediction_timeout"


class _TooSlow(EngineError):
    """The reader process exceeded its time."""


class PredictionUnavailable(ServiceError):
    """This service cannot run models: ONNX Runtime is not installed. Install `ttm-service[predict]`."""

    status = 501
    code = "prediction_unavailable"


class Predictor:
    """Classifies images, two at a time per process."""

    def __init__(self, storage: Storage, *, seconds: float = _SECONDS) -> None:
        self._storage = storage
        self._limits = ReaderLimits(memory_bytes=_MEMORY_BYTES, seconds=seconds)
        self._slots = BoundedSemaphore(_CONCURRENT)

    def predict(self, image: bytes, keys: Mapping[str, str]) -> Prediction:
        """The answers of the models under these storage keys, by the name of the artifact. Takes seconds.

        Raises:
            PredictionUnavailable: ONNX Runtime or Pillow is not installed.
            PredictionTimeout: the models take more than `seconds`.
            TooManyPredictions: other images were not classified in time.
            ReaderUnavailable: the reader process was killed from outside.
            UnreadableImage: the image cannot be decoded or is too large.
        """
        if find_spec("onnxruntime") is None or find_spec("PIL") is None:
            raise PredictionUnavailable
        if not self._slots.acquire(timeout=_WAIT_SECONDS):
            raise TooManyPredictions
        try:
            with tempfile.TemporaryDirectory(prefix="ttm-predict-") as folder:
                return self._run(Path(folder), image, keys)
        finally:
            self._slots.release()

    def _run(self, folder: Path, image: bytes, keys: Mapping[str, str]) -> Prediction:
        source = folder / "image"
        source.write_bytes(image)
        for name, key in keys.items():
            with (folder / name).open("wb") as copy:
                copy.writelines(self._storage.open(key))
        try:
            answer = read_untrusted(
                "predict",
                {"source": str(source), "files": {name: str(folder / name) for name in keys}},
                input_bytes=0,
                file_bytes=0,
                error=BadImage,
                subject="The image",
                reads=[folder],
                limits=self._limits,
                slow=_TooSlow,
            )
        except _TooSlow:
            raise PredictionTimeout from None
        except BadImage as error:
            raise UnreadableImage(error.message) from None
        except EngineError as error:
            log.warning("an image was not classified", error=error.message)
            raise ReaderUnavailable from error
        return Prediction.model_validate(answer)
