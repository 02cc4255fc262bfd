"""Predictions of jobs that the real trainer ran."""

import io
from collections.abc import Iterator

import httpx2
import pytest
from PIL import Image

from api.predictions.service import files_of
from api.receiving.prediction import PredictionTimeout, Predictor
from tests.security.corpus import images
from tests.support.damaged import Damaged
from ttm_core.spec.damage.predictions import Predictions
from ttm_jobs.database.engine import read_scope
from ttm_jobs.database.ids import new_id

PNG = {"content-type": "image/png"}
PER_CLASS = 40
HOSTILE = [
    "png, cut",
    "png, a billion pixels",
    "png, text bomb",
    "png, text",
    "png, bytes of nothing",
]


@pytest.fixture(scope="module")
def api(damaged: Damaged) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=damaged.url, timeout=120) as client:
        yield client


def encoded(size: tuple[int, int] = (24, 24), kind: str = "PNG", mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, "white").save(content, kind)
    return content.getvalue()


def assert_code(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_models_predict_what_they_predicted_in_the_evaluation(api: httpx2.Client, damaged: Damaged) -> None:
    content = api.get(f"/jobs/{damaged.student}/artifacts/predictions.safetensors").content
    evaluated = Predictions.from_bytes(content)
    names = evaluated.info.class_names
    for number, name in enumerate(names):
        image = sorted((damaged.data / "digits/val" / name).iterdir())[7]
        position = PER_CLASS * number + 7
        assert evaluated.labels[position] == number
        answer = api.post(f"/jobs/{damaged.student}/predict", content=image.read_bytes(), headers=PNG)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["width"], body["height"], body["threads"]) == (24, 24, 1)
        models = {each["model"]: each for each in body["models"]}
        assert list(models) == ["student", "student_fp16", "student_int8", "teacher"]
        assert models["student"]["top"][0]["name"] == names[evaluated.student.classes[position]]
        probability = evaluated.student.probabilities[position]
        assert models["student"]["top"][0]["probability"] == pytest.approx(probability, abs=1e-4)
        assert evaluated.teacher is not None
        # The trainer may evaluate the teacher in bfloat16.
        wanted = evaluated.teacher.probabilities[position]
        assert models["teacher"]["top"][0]["probability"] == pytest.approx(wanted, abs=0.05)
        for each in models.values():
            assert len(each["top"]) == 5
            assert sum(guess["probability"] for guess in each["top"]) == pytest.approx(1, abs=1e-4)
            assert each["latency_ms"] > 0


@pytest.mark.parametrize(
    ("kind", "size", "mode"), [("JPEG", (640, 480), "L"), ("WEBP", (10, 300), "RGB"), ("GIF", (1, 1), "P")]
)
def test_image_of_any_size_and_mode_is_answered(
    api: httpx2.Client, damaged: Damaged, kind: str, size: tuple[int, int], mode: str
) -> None:
    content = encoded(size, kind, mode)
    answer = api.post(
        f"/jobs/{damaged.student}/predict", content=content, headers={"content-type": f"image/{kind.lower()}"}
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["width"], answer.json()["height"]) == size


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_image_is_refused(api: httpx2.Client, damaged: Damaged, name: str) -> None:
    content = images.CASES[name][1]()
    assert_code(api.post(f"/jobs/{damaged.student}/predict", content=content, headers=PNG), 422, "unreadable_image")


@pytest.mark.thorough
@pytest.mark.parametrize("name", images.CASES)
def test_no_image_of_the_corpus_stops_the_service(api: httpx2.Client, damaged: Damaged, name: str) -> None:
    answer = api.post(f"/jobs/{damaged.student}/predict", content=images.CASES[name][1](), headers=PNG)
    assert answer.status_code in (200, 413, 422), answer.text
    assert api.get("/healthz").status_code == 200


@pytest.mark.parametrize("kind", ["image/svg+xml", "application/json", "text/html", "", "image/"])
def test_other_types_are_refused(api: httpx2.Client, damaged: Damaged, kind: str) -> None:
    content = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
    answer = api.post(f"/jobs/{damaged.student}/predict", content=content, headers={"content-type": kind})
    assert_code(answer, 415, "unsupported_image_type")


def test_image_above_the_limit_is_refused(api: httpx2.Client, damaged: Damaged) -> None:
    content = encoded() + bytes(damaged.settings.max_image_bytes)
    assert_code(api.post(f"/jobs/{damaged.student}/predict", content=content, headers=PNG), 413, "too_large")


def test_jobs_without_an_onnx_file_do_not_predict(api: httpx2.Client, damaged: Damaged) -> None:
    assert_code(api.post(f"/jobs/{damaged.teacher}/predict", content=encoded(), headers=PNG), 404, "no_onnx_file")
    assert_code(api.post(f"/jobs/{new_id()}/predict", content=encoded(), headers=PNG), 404, "job_not_found")


def test_models_that_take_too_long_are_a_timeout(damaged: Damaged) -> None:
    with read_scope(damaged.engine) as session:
        keys = files_of(session, damaged.student)
    with pytest.raises(PredictionTimeout) as raised:
        Predictor(damaged.storage, seconds=0.01).predict(encoded(), keys)
    assert (raised.value.status, raised.value.code) == (504, "prediction_timeout")
    assert "did not answer" in raised.value.message
