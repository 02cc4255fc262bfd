"""What a run decides before training: the check of the teacher and the reasons of resolved fields, in the API, on the
job page and in `ttm show`."""

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.support.factories import running
from tests.support.runs import teacher_check
from ttm_client.cli.jobs.show import describe
from ttm_client.models.jobs import Job
from ttm_core.spec.events import SuggestedImageSize, SuggestedNormalization, WeakClass
from ttm_core.spec.normalization import PRESETS
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.run_data import recording


def test_the_check_is_shown_with_the_suggested_normalization(client: TestClient, engine: Engine) -> None:
    lease = running(engine)
    path = f"/jobs/{lease.job_id}"
    assert client.get(path).json()["teacher_check"] is None
    assert "<summary>Teacher check" not in client.get(f"/ui{path}").text
    suggestion = SuggestedNormalization(
        preset="ImageNet", normalization=PRESETS["ImageNet"], top1=0.9, current_top1=0.5, images=128
    )
    weak = [WeakClass(name="<b>cat</b>", images=50, top1=0.12)]
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        data = teacher_check(0.5, 500, weak_classes=weak, suggested_normalization=suggestion)
        recording.teacher_measured(session, job, data, now(session))
    shown = client.get(path).json()
    check = shown["teacher_check"]
    low, high = check["interval"]
    assert low < check["top1"] < high
    assert (check["chance"], check["images"]) == (0.1, 500)
    assert check["weak_classes"] == [{"name": "<b>cat</b>", "images": 50, "top1": 0.12}]
    assert check["suggested_normalization"]["normalization"]["mean"] == PRESETS["ImageNet"].mean
    page = client.get(f"/ui{path}").text
    assert "<summary>Teacher check" in page
    assert "Did you mean the normalization of ImageNet?" in page
    assert "50.0%" in page
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    assert "<b>cat</b>" not in page
    rows = dict(describe(Job.model_validate(shown)))
    assert rows["teacher check"].startswith("50.0% of 500 validation images, 95 % interval 45.6% to 54.4%, chance 10")
    assert rows["weak classes"] == "<b>cat</b> 12%"
    assert rows["did you mean"].startswith("the normalization of ImageNet? 90.0% instead of 50.0% of 128 images")


def test_the_check_is_shown_with_the_suggested_image_size(client: TestClient, engine: Engine) -> None:
    lease = running(engine)
    suggestion = SuggestedImageSize(image_size=224, top1=0.9, current_top1=0.5, images=128)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        data = teacher_check(0.5, 500, suggested_image_size=suggestion)
        recording.teacher_measured(session, job, data, now(session))
    shown = client.get(f"/jobs/{lease.job_id}").json()
    assert shown["teacher_check"]["suggested_image_size"]["image_size"] == 224
    page = client.get(f"/ui/jobs/{lease.job_id}").text
    assert "Was it trained with images of 224 pixels?" in page
    assert "Did you mean" not in page
    rows = dict(describe(Job.model_validate(shown)))
    assert rows["did you mean"].startswith("images of 224 pixels? 90.0% instead of 50.0% of 128 images")


def test_reasons_of_resolved_fields_are_shown(client: TestClient, engine: Engine) -> None:
    lease = running(engine)
    path = f"/jobs/{lease.job_id}"
    assert client.get(path).json()["reasons"] == {}
    reasons = {"training.precision": "The device has no units for bfloat16."}
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        recording.resolved(session, job, job.spec, {"total_steps": 10, "reasons": reasons}, now(session))
    assert client.get(path).json()["reasons"] == reasons
    assert "The device has no units for bfloat16." in client.get(f"/ui{path}").text


def test_a_good_teacher_has_a_short_card(client: TestClient, engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        recording.teacher_measured(session, leases.fence(session, lease), teacher_check(0.95, 10), now(session))
    page = client.get(f"/ui/jobs/{lease.job_id}").text
    assert "none far below its average" in page
    assert "Did you mean" not in page
