"""Damage reports over the API, of jobs that the real trainer ran."""

import io
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest
from PIL import Image

from tests.support.damaged import HOSTILE_CLASS, Damaged
from ttm_core.spec.damage.predictions import Predictions

UNKNOWN = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"
IMAGES = 200  # five classes of 40 validation images


@pytest.fixture(scope="module")
def api(damaged: Damaged) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=damaged.url, timeout=60) as client:
        yield client


def assert_code(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def predictions_of(api: httpx2.Client, job_id: str) -> Predictions:
    return Predictions.from_bytes(api.get(f"/jobs/{job_id}/artifacts/predictions.safetensors").content)


def test_report_agrees_with_the_jobs_accuracy(api: httpx2.Client, damaged: Damaged) -> None:
    answer = api.get(f"/jobs/{damaged.student}/damage")
    assert answer.status_code == 200
    damage, job = answer.json(), api.get(f"/jobs/{damaged.student}").json()
    assert (damage["reference"], damage["reference_job"], damage["split"]) == ("teacher", None, "validation")
    assert damage["images"] == IMAGES
    for side, score in (
        ("student_correct", job["accuracy"]["student"]),
        ("reference_correct", job["accuracy"]["teacher"]),
    ):
        assert sum(row[side] for row in damage["classes"]) / IMAGES == pytest.approx(score)
    assert HOSTILE_CLASS in {row["name"] for row in damage["classes"]}
    assert damage["gallery_count"] == sum(damage["outcomes"].values()) > 0


def test_unchanged_report_is_not_sent_again(api: httpx2.Client, damaged: Damaged) -> None:
    for query in ("", f"?against={damaged.teacher}"):
        path = f"/jobs/{damaged.student}/damage{query}"
        etag = api.get(path).headers["etag"]
        assert api.get(path, headers={"If-None-Match": etag}).status_code == 304


def test_images_are_filtered_sorted_and_paginated(api: httpx2.Client, damaged: Damaged) -> None:
    path = f"/jobs/{damaged.student}/damage/images"
    outcomes = api.get(f"/jobs/{damaged.student}/damage").json()["outcomes"]
    every = api.get(path, params={"limit": 200}).json()
    assert not every["has_more"]
    assert Counter(item["outcome"] for item in every["items"]) == {name: n for name, n in outcomes.items() if n}

    label = every["items"][0]["label"]
    chosen = api.get(path, params={"outcome": "lost", "class": label, "limit": 200}).json()["items"]
    assert chosen == [item for item in every["items"] if (item["outcome"], item["label"]) == ("lost", label)]

    confident = api.get(path, params={"sort": "-confidence", "limit": 200}).json()["items"]
    probabilities = [item["student"][0]["probability"] for item in confident]
    assert probabilities == sorted(probabilities, reverse=True)

    paged, cursor = [], None
    while True:
        answer = api.get(path, params={"limit": 7, **({"cursor": cursor} if cursor else {})}).json()
        paged += answer["items"]
        cursor = answer["next_cursor"]
        if not answer["has_more"]:
            break
    assert paged == every["items"]
    assert_code(api.get(path, params={"cursor": "AAAA"}), 422, "invalid_cursor")


def test_thumbnails_are_inert_images_that_browsers_keep(api: httpx2.Client, damaged: Damaged) -> None:
    for item in api.get(f"/jobs/{damaged.student}/damage/images", params={"limit": 3}).json()["items"]:
        answer = api.get(item["href"])
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        with Image.open(io.BytesIO(answer.content)) as image:
            image.load()
            assert image.size == (item["side"], item["side"]) == (24, 24)
        assert api.get(item["href"], headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        assert api.head(item["href"]).content == b""


@pytest.mark.parametrize(
    "number", ["-1", "200", "99999999999999999999", "0.5", "..%2f..%2freport.json", "0%00", "%2e%2e", "٣", "0;1"]
)
def test_only_numbers_of_images_are_served(api: httpx2.Client, damaged: Damaged, number: str) -> None:
    answer = api.get(f"/jobs/{damaged.student}/damage/images/{number}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_number_after_the_last_image_is_not_found(api: httpx2.Client, damaged: Damaged) -> None:
    count = api.get(f"/jobs/{damaged.student}/damage").json()["gallery_count"]
    assert_code(api.get(f"/jobs/{damaged.student}/damage/images/{count}"), 404, "damage_image_not_found")


def test_two_students_are_compared_image_by_image(api: httpx2.Client, damaged: Damaged) -> None:
    ours, theirs = predictions_of(api, damaged.student), predictions_of(api, damaged.teacher)
    pairs = [
        (mine == label, other == label)
        for label, mine, other in zip(ours.labels, ours.student.classes, theirs.student.classes, strict=True)
    ]
    params = {"against": damaged.teacher}
    damage = api.get(f"/jobs/{damaged.student}/damage", params=params).json()
    assert (damage["reference"], damage["reference_job"]) == ("job", damaged.teacher)
    assert damage["outcomes"] == {
        "lost": pairs.count((False, True)),
        "gained": pairs.count((True, False)),
        "both_wrong": pairs.count((False, False)),
    }
    images = api.get(f"/jobs/{damaged.student}/damage/images", params={**params, "limit": 200}).json()["items"]
    assert len(images) == damage["gallery_count"] > 0
    for item in images:
        (guess,) = item["reference"]
        assert guess["name"] == ours.info.class_names[theirs.student.classes[item["image"]]]


def test_job_without_a_teacher_has_no_report_of_its_own(api: httpx2.Client, damaged: Damaged) -> None:
    for path in ("damage", "damage/images", "damage/images/0"):
        assert_code(api.get(f"/jobs/{damaged.teacher}/{path}"), 404, "no_damage_report")


def test_jobs_on_other_data_are_not_compared(api: httpx2.Client, damaged: Damaged) -> None:
    for path in ("damage", "damage/images"):
        answer = api.get(f"/jobs/{damaged.student}/{path}", params={"against": damaged.elsewhere})
        assert_code(answer, 409, "different_data")


@pytest.mark.parametrize("against", ["", "x", "../x", "0" * 36, UNKNOWN])
def test_unknown_other_job_is_not_found(api: httpx2.Client, damaged: Damaged, against: str) -> None:
    assert_code(api.get(f"/jobs/{damaged.student}/damage", params={"against": against}), 404, "job_not_found")


def test_unfinished_job_has_no_report(api: httpx2.Client, damaged: Damaged) -> None:
    body = {"student": "resnet18", "dataset": damaged.data.as_uri(), "method": "ce"}
    queued = api.post("/jobs", json=body).json()["id"]
    assert_code(api.get(f"/jobs/{queued}/damage"), 409, "job_not_finished")
    assert_code(api.get(f"/jobs/{damaged.student}/damage", params={"against": queued}), 409, "job_not_finished")
    api.post(f"/jobs/{queued}/cancel")
