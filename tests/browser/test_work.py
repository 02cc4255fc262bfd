"""User workflows on the pages, against a stack that runs jobs."""

import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from cli.stack.stack import Stack
from tests.api.conftest import make_settings
from tests.api.test_estimates import body, finished
from tests.browser.conftest import clear_expected
from tests.browser.gallery import Gallery
from tests.browser.test_pages import CHECKS
from tests.support.api_server import served
from tests.support.models import create_model
from tests.support.tiny import wait_until
from ttm_client import Client, NotFound
from ttm_core.models.weights import write_safetensors
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings
from ttm_jobs.storage import build_storage

LONG_JOB = "steps=2000 step_seconds=0.05"


def points(page: Page) -> int:
    """The number of points of the loss curve."""
    line = page.locator('[data-chart="loss"] polyline')
    return len((line.first.get_attribute("points") or "").split()) if line.count() else 0


def await_points(page: Page, more_than: int) -> None:
    # `wait_for_function` evaluates a string in the page, which the content security policy forbids.
    wait_until(lambda: page.wait_for_timeout(50) or points(page) > more_than)


def fill_form(page: Page, stack: Stack, data: Path, name: str, student: str) -> None:
    page.goto(f"{stack.url}/ui/new")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Student", exact=True).fill(student)
    page.get_by_label("Dataset", exact=True).fill(data.as_uri())


def submit(stack: Stack, data: Path, name: str) -> str:
    with Client(stack.url) as client:
        return client.jobs.create(name=name, student="resnet18", dataset=data.as_uri(), method="ce").id


def test_errors_are_shown_next_to_their_fields(page: Page, console_errors: list[str], stack: Stack, data: Path) -> None:
    """All errors appear at once, although the service finds them in three stages: types, names, and what they refer to."""
    fill_form(page, stack, data, "faulty", "resnet1999")
    page.get_by_label("Teacher", exact=True).fill("teacher:unknown")
    page.locator("#new").get_by_text("Scheduling", exact=True).click()
    page.get_by_label("Priority").fill("12")
    page.get_by_role("button", name="Submit").click()
    faults = page.locator(".fault")
    expect(faults).to_have_text(
        [
            "No teacher has this name and version.",
            re.compile("no architecture 'resnet1999'.*Did you mean"),
            re.compile("less than or equal to 9"),
        ]
    )
    expect(page.get_by_label("Priority")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Teacher", exact=True)).to_be_focused()
    clear_expected(page, console_errors)  # of the rejected request
    page.get_by_text("Other fields as JSON").click()
    page.get_by_label("JSON merged with the fields above").fill('{"queue": "gpu",}')
    page.get_by_label("Teacher", exact=True).fill("")
    page.get_by_label("Priority").fill("7")
    page.get_by_role("button", name="Submit").click()
    expect(faults).to_have_text([re.compile("Did you mean"), re.compile("^Not valid JSON: ")])
    page.get_by_label("JSON merged with the fields above").fill("")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#message")).to_contain_text("requires a teacher")
    expect(faults).to_have_text([re.compile("Did you mean")])
    clear_expected(page, console_errors)
    with Client(stack.url) as client:
        assert not list(client.jobs.list(name="faulty"))


def test_going_back_restores_the_form(page: Page, stack: Stack, data: Path) -> None:
    fill_form(page, stack, data, "unfinished", "resnet18")
    page.get_by_label("Method", exact=True).select_option("kd")
    page.get_by_label("KD weight").fill("0.7")
    page.goto(stack.url)
    page.go_back()
    expect(page.get_by_label("Name", exact=True)).to_have_value("unfinished")
    expect(page.get_by_label("Student", exact=True)).to_have_value("resnet18")
    expect(page.get_by_label("KD weight")).to_have_value("0.7")


def test_submit_follow_and_download(page: Page, stack: Stack, data: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    structure = {"architecture": "mini/resnet8_100", "num_classes": 10}
    weights = create_model("mini/resnet8_100", num_classes=10).state_dict()
    write_safetensors(teacher, weights, {"format": 2, "structure": structure})
    fill_form(page, stack, data, "steps=60 step_seconds=0.1 student_bytes=200000", "resnet18")
    page.get_by_label("File for teacher").set_input_files(teacher)
    expect(page.get_by_label("Teacher", exact=True)).to_have_value(re.compile("^upload:"))
    page.locator("input[name='/method/beta']:visible").fill("3.5")
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator("#estimate")).to_contain_text("11.7 M")
    page.get_by_role("button", name="Submit").click()

    page.wait_for_url("**/ui/jobs/*")
    expect(page.locator("#head .state")).to_have_text("▶running")
    await_points(page, 1)
    count = points(page)
    await_points(page, count + 5)
    expect(page.locator("#head .state")).to_have_text("✓succeeded")
    assert '"beta": 3.5' in page.locator("#spec pre").first.inner_text()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download student").click()
    student = Path(waiting.value.path()).read_bytes()
    assert len(student) == 200_000
    expect(page.locator("#artifacts")).to_contain_text(hashlib.sha256(student).hexdigest())

    page.goto(f"{stack.url}/ui/uploads")
    page.get_by_role("button", name=f"Inspect {teacher.name}").first.click()
    inspection = page.get_by_role("region", name="Inspection")
    expect(inspection).to_contain_text("mini/resnet8_100")
    expect(inspection).to_contain_text("10 classes")


def test_edit_and_resubmit_sends_the_same_spec(page: Page, stack: Stack, data: Path) -> None:
    with Client(stack.url) as client:
        first = client.jobs.create(
            name=LONG_JOB,
            student="resnet18",
            dataset=data.as_uri(),
            method="ce",
            # The resolved spec of a job that has started has a value for `compile`, which may also be a text.
            training={"epochs": 3, "compile": False, "optimizer": {"name": "adamw", "learning_rate": 0.003}},
            tags=["nightly"],
        )
        page.goto(f"{stack.url}/ui/jobs/{first.id}")
        page.get_by_role("link", name="Edit and resubmit").click()
        page.get_by_label("Epochs").fill("4")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url("**/ui/jobs/*")
        again = client.jobs.get(page.url.rpartition("/")[2])
        assert again.spec["training"] == first.spec["training"] | {"epochs": 4}
        for part in ("student", "dataset", "method", "name"):
            assert again.spec.get(part) == first.spec.get(part)
        assert again.tags == first.tags
        for job in (first, again):
            client.jobs.cancel(job.id)


def test_learning_rate_needs_no_optimizer(page: Page, stack: Stack, data: Path) -> None:
    fill_form(page, stack, data, LONG_JOB, "resnet18")
    page.get_by_label("Method", exact=True).select_option("ce")
    page.get_by_label("Learning rate", exact=True).fill("0.02")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/ui/jobs/*")
    with Client(stack.url) as client:
        job = client.jobs.get(page.url.rpartition("/")[2])
        client.jobs.cancel(job.id)
        optimizer = job.spec["training"]["optimizer"]
        assert (optimizer["name"], optimizer["learning_rate"]) == ("sgd", 0.02)

        fill_form(page, stack, data, LONG_JOB, "resnet18")
        page.get_by_text("Other fields as JSON").click()
        rest = '{"method": "ce", "training": {"optimizer": "adamw"}}'
        page.get_by_label("JSON merged with the fields above").fill(rest)
        page.get_by_label("Learning rate", exact=True).fill("0.02")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url("**/ui/jobs/*")
        job = client.jobs.get(page.url.rpartition("/")[2])
        client.jobs.cancel(job.id)
        optimizer = job.spec["training"]["optimizer"]
        assert (job.method, optimizer["name"], optimizer["learning_rate"]) == ("ce", "adamw", 0.02)


def test_second_click_does_not_submit_again(page: Page, stack: Stack, data: Path) -> None:
    """The button stays disabled while the job's page loads."""
    name = f"{LONG_JOB} once"
    fill_form(page, stack, data, name, "resnet18")
    page.get_by_label("Method", exact=True).select_option("ce")
    held: list[Route] = []
    page.route("**/ui/jobs/*", lambda route: held.append(route))
    # Playwright waits for the navigation before it acts, so the page clicks by itself.
    page.evaluate("setInterval(() => document.querySelector('#new button.primary').click(), 20)")
    wait_until(lambda: page.wait_for_timeout(20) or held)
    time.sleep(0.3)
    held[0].continue_()
    page.wait_for_url("**/ui/jobs/*")
    page.unroute_all()
    page.go_back()
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    with Client(stack.url) as client:
        jobs = list(client.jobs.list(name=name))
        assert len(jobs) == 1
        client.jobs.cancel(jobs[0].id)


@pytest.mark.parametrize("width", [1280, 390])
def test_estimate_follows_the_entries(page: Page, stack: Stack, data: Path, tmp_path: Path, width: int) -> None:
    """An estimate of earlier entries does not stay, and it is not wider than its card."""
    teacher = tmp_path / "teacher.safetensors"
    weights = create_model("mini/resnet8_100", num_classes=10).state_dict()
    write_safetensors(
        teacher, weights, {"format": 2, "structure": {"architecture": "mini/resnet8_100", "num_classes": 10}}
    )
    page.set_viewport_size({"width": width, "height": 900})
    fill_form(page, stack, data, "followed", "resnet18")
    page.get_by_label("Teacher architecture").fill("mini/resnet8_100")
    # The estimate follows the end of an upload, too.
    page.get_by_label("File for teacher").set_input_files(teacher)
    estimate = page.locator("#estimate")
    expect(estimate).to_contain_text("The spec is valid")
    expect(estimate).to_contain_text("78 k parameters, 12.5 M MACs")
    expect(estimate).to_contain_text("11.7 M parameters, 1.81 G MACs, larger")
    assert page.evaluate(CHECKS) == []
    assert estimate.evaluate("card => card.scrollWidth - card.clientWidth") == 0
    page.get_by_label("Student", exact=True).fill("resnet1")
    expect(estimate).to_have_text("Some fields are missing or not valid yet. The buttons below the form show which.")
    page.get_by_label("Student", exact=True).fill("resnet18")
    expect(estimate).to_contain_text("The spec is valid")
    page.get_by_label("Student", exact=True).fill("")
    expect(estimate).not_to_contain_text("The spec is valid")


def test_interrupted_upload_resumes(
    page: Page, console_errors: list[str], stack: Stack, data: Path, tmp_path: Path
) -> None:
    part = 8 * 1024 * 1024
    teacher = tmp_path / "größe.safetensors"
    teacher.write_bytes(os.urandom(2 * part + 1000))
    offsets: list[int] = []

    def drop_parts(route: Route) -> None:
        """Drops every part except the first."""
        offsets.append(int(route.request.headers["upload-offset"]))
        route.abort("connectionreset") if len(offsets) > 1 else route.continue_()

    page.route(
        "**/uploads/*", lambda route: drop_parts(route) if route.request.method == "PATCH" else route.continue_()
    )
    page.goto(f"{stack.url}/ui/new")
    page.get_by_label("File for teacher").set_input_files(teacher)
    expect(page.locator("[data-upload]").first).to_contain_text("resuming at 50% shortly")
    page.unroute_all(behavior="wait")
    page.on(
        "request", lambda sent: offsets.append(int(sent.headers["upload-offset"])) if sent.method == "PATCH" else None
    )
    page.reload()
    page.get_by_label("File for teacher").set_input_files(teacher)
    expect(page.get_by_label("Teacher", exact=True)).to_have_value(re.compile("^upload:"))
    assert offsets[0] == 0
    assert offsets[-2:] == [part, 2 * part], "no part is sent twice"
    address = page.get_by_label("Teacher", exact=True).input_value()
    with Client(stack.url) as client:
        kept = client.uploads.get(address.removeprefix("upload:"))
    assert (kept.sha256, kept.filename) == (hashlib.sha256(teacher.read_bytes()).hexdigest(), teacher.name)
    clear_expected(page, console_errors)  # of the dropped requests


def test_upload_says_whether_it_can_be_resumed(
    page: Page, console_errors: list[str], sqlite_url: str, tmp_path: Path
) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    large, small = tmp_path / "large.bin", tmp_path / "small.bin"
    large.write_bytes(bytes(settings.max_upload_bytes + 1))
    small.write_bytes(os.urandom(1000))
    failures: list[str] = []

    def unavailable(route: Route) -> None:
        """Fails the first part and the question for its offset, as a proxy does while the service restarts."""
        if route.request.method in ("PATCH", "HEAD") and len(failures) < 2:
            failures.append(route.request.method)
            route.fulfill(status=503, body="<h1>Service Unavailable</h1>")
        else:
            route.continue_()

    with served(settings) as url:
        page.goto(f"{url}/ui/new")
        field, chosen = page.get_by_label("Teacher", exact=True), page.get_by_label("File for teacher")
        status = page.locator("[data-upload]").first
        chosen.set_input_files(large)
        expect(status).to_have_text(re.compile(r"^large.bin: The upload is larger than the limit of \d+ bytes\.$"))
        assert chosen.evaluate("input => input.files.length") == 0, "the same file can be chosen again"
        drop_files(page, "one.bin", "two.bin")
        expect(status).to_have_text("2 files were dropped. Drop one file.")
        page.route("**/uploads/*", unavailable)
        chosen.set_input_files(small)
        expect(field).to_have_value(re.compile("^upload:"))
        assert failures == ["PATCH", "HEAD"]
        page.context.set_offline(True)
        chosen.set_input_files(small)
        expect(status).to_have_text(
            "small.bin: the service could not be reached. Choose the file again to resume the upload."
        )
        page.context.set_offline(False)
    clear_expected(page, console_errors)  # of the failed requests


def drop_files(page: Page, *names: str) -> None:
    """Drops files into the field of the teacher."""
    files = page.evaluate_handle(
        """names => {
            const data = new DataTransfer();
            for (const name of names) data.items.add(new File(["x"], name));
            return data;
        }""",
        list(names),
    )
    page.locator("[data-drop]").first.dispatch_event("drop", {"dataTransfer": files})


def test_commands_submit_the_job_again(page: Page, stack: Stack, data: Path, tmp_path: Path) -> None:
    name = 'it\'s "quoted" $HOME `id` \\\\ steps=3'
    with Client(stack.url) as client:
        first = client.jobs.create(name=name, student="resnet18", dataset=data.as_uri(), method="ce", tags=["again"])
        client.jobs.wait(first.id, 60, interval=0.1)
        page.goto(f"{stack.url}/ui/jobs/{first.id}")
        lines = page.locator("#spec details pre").all_text_contents()
        assert len(lines) == 3
        (tmp_path / "again.py").write_text(lines[1])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TTM_")}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        for command in (lines[0], f"python {tmp_path / 'again.py'}", lines[2]):
            ended = subprocess.run(
                ["bash", "-euc", command], env=environment, capture_output=True, text=True, check=False
            )
            assert ended.returncode == 0, ended.stderr
        wait_until(lambda: len(list(client.jobs.list(name=name, states=("succeeded",)))) == 4)
        again = [client.jobs.get(job.id) for job in client.jobs.list(name=name)]
    assert [job.spec for job in again] == [again[0].spec] * 4


def test_log_is_followed_searched_and_paused(page: Page, stack: Stack, data: Path) -> None:
    job_id = submit(stack, data, LONG_JOB)
    page.goto(f"{stack.url}/ui/jobs/{job_id}#log")
    lines = page.locator("#log pre")
    expect(lines).to_contain_text("step 12 of 2000")
    page.get_by_label("Search").fill("step 12 ")
    expect(page.locator("#log [data-found]")).to_contain_text(re.compile(r"^1 of \d+ lines"))
    page.get_by_label("Search").fill("")
    page.get_by_role("button", name="Pause", exact=True).last.click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.get_by_role("tab", name="Metrics").click()
    expect(page.locator('[data-chart="memory"] svg')).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#head .state")).to_have_text("⊘cancelled")


def test_zoom_is_kept_when_points_arrive(page: Page, stack: Stack, data: Path) -> None:
    job_id = submit(stack, data, LONG_JOB)
    page.goto(f"{stack.url}/ui/jobs/{job_id}")
    await_points(page, 10)
    box = page.locator('[data-chart="loss"] svg').bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()
    label = page.locator('[data-chart="loss"] svg').get_attribute("aria-label")
    expect(page.locator('[data-chart="loss"] svg')).not_to_have_attribute("aria-label", label or "")
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()
    page.get_by_role("button", name="Reset zoom").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#head .state")).to_have_text("⊘cancelled")


def test_comparison_curves_update_and_keep_their_zoom(page: Page, stack: Stack, data: Path) -> None:
    jobs = [submit(stack, data, LONG_JOB) for _ in range(2)]
    page.goto(f"{stack.url}/ui/compare?job={jobs[0]}&job={jobs[1]}")
    metrics = page.get_by_label("Metric")
    expect(metrics.locator("option", has_text="train/loss")).to_have_count(1)
    metrics.select_option("train/loss")
    curve = page.locator('[data-chart="overlay"] svg')
    expect(curve).to_be_visible(timeout=40_000)
    expect(page.locator("#compared .state").first).to_have_text("▶running")
    curve.focus()
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()
    label = curve.get_attribute("aria-label")
    expect(curve).not_to_have_attribute("aria-label", label or "")
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()
    with Client(stack.url) as client:
        for job_id in jobs:
            client.jobs.cancel(job_id)
    expect(page.locator("#compared .state").first).to_have_text("⊘cancelled")


def test_queue_page_updates_live(page: Page, stack: Stack, data: Path) -> None:
    running = submit(stack, data, LONG_JOB)
    page.goto(f"{stack.url}/ui/queue")
    with Client(stack.url) as client:
        wait_until(lambda: client.jobs.get(running).state == "running")
        usual = submit(stack, data, "steps=3")
        rows = page.locator("#waiting tbody tr")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text("a free worker")
        urgent = client.jobs.create(
            name="steps=2", student="resnet18", dataset=data.as_uri(), method="ce", priority=9
        ).id
        expect(rows).to_have_count(2)
        expect(rows.locator("a")).to_have_text(["steps=2", "steps=3"])
        client.jobs.cancel(running)
        expect(page.locator("#waiting")).to_contain_text("No queued jobs in default.")
        for job_id in (usual, urgent):
            assert client.jobs.wait(job_id, 100, interval=0.1).state == "succeeded"


def test_cancel_several_jobs_from_the_list(page: Page, stack: Stack, data: Path) -> None:
    jobs = [submit(stack, data, LONG_JOB) for _ in range(2)]
    page.goto(f"{stack.url}/ui/jobs")
    boxes = [page.locator(f"#job-{job} input") for job in jobs]
    for box in boxes:
        box.check()
    newer = submit(stack, data, LONG_JOB)
    expect(page.locator(f"#job-{newer}")).to_be_visible()
    for box in boxes:
        expect(box).to_be_checked()
    page.locator(f"#job-{newer} input").check()
    expect(page.locator("#selection")).to_contain_text("3 selected")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel jobs").click()
    for job in [*jobs, newer]:
        expect(page.locator(f"#job-{job} .state")).to_have_text("⊘cancelled")
    expect(page.locator("#selection")).to_contain_text("3 selected")


def test_job_is_renamed_tagged_and_deleted(page: Page, console_errors: list[str], stack: Stack, data: Path) -> None:
    job = submit(stack, data, LONG_JOB)
    page.goto(f"{stack.url}/ui/jobs/{job}")
    page.get_by_text("Edit name and tags").click()
    page.get_by_label("Name").fill("pets <b>")
    page.get_by_label("Tags").fill("nightly, owner:vision")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("pets <b>")
    expect(page.locator("#head .tag")).to_have_text(["nightly", "owner:vision"])
    page.get_by_text("Edit name and tags").click()
    expect(page.get_by_label("Tags")).to_have_value("nightly owner:vision")
    page.get_by_label("Tags").fill("(nightly)")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("pattern")
    expect(page.locator("#head .tag")).to_have_count(2)
    clear_expected(page, console_errors)  # of the rejected request
    page.get_by_role("button", name="Cancel").click()
    remove = page.get_by_role("button", name="Delete")
    expect(remove).to_be_visible(timeout=40_000)
    page.once("dialog", lambda dialog: dialog.accept())
    remove.click()
    page.wait_for_url(f"{stack.url}/ui/jobs")
    # The page may have asked for itself between the deletion and its end.
    console_errors[:] = [text for text in console_errors if "404" not in text]
    with Client(stack.url) as client, pytest.raises(NotFound):
        client.jobs.get(job)


def test_saving_a_tag_keeps_a_name_given_elsewhere(page: Page, gallery: Gallery) -> None:
    """Opening the form shows the current name, and only edited fields are sent."""
    job = gallery.jobs["succeeded"][0]
    with Client(gallery.url) as client:
        before = client.jobs.get(job)
        try:
            page.goto(f"{gallery.url}/ui/jobs/{job}")
            client.jobs.update(job, name="renamed elsewhere")
            page.get_by_text("Edit name and tags").click()
            expect(page.get_by_label("Name")).to_have_value("renamed elsewhere")
            client.jobs.update(job, name="renamed again")
            page.get_by_label("Tags").fill("nightly")
            page.get_by_role("button", name="Save", exact=True).click()
            expect(page.locator("#head .tag")).to_have_text(["nightly"])
            expect(page.get_by_role("heading", level=1)).to_have_text("renamed again")
            expect(page).to_have_title("renamed again · TTM")
            assert client.jobs.get(job).name == "renamed again"
            page.get_by_text("Edit name and tags").click()
            expect(page.get_by_label("Name")).to_have_value("renamed again")
        finally:
            client.jobs.update(job, name=before.name, tags=before.tags)


def test_estimate_uses_a_similar_job(page: Page, sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    engine, storage = create_engine(settings.database_url), build_storage(settings.storage_url)
    with served(settings) as url, httpx2.Client(base_url=url) as client:
        similar = finished(client, engine, storage, body(settings))
        page.goto(f"{url}/ui/new")
        page.get_by_label("Student", exact=True).fill("resnet18")
        client.post("/datasets", json={"name": "pets", "dataset": settings.data_roots[0].as_uri()}).raise_for_status()
        dataset = page.get_by_label("Dataset", exact=True)
        dataset.focus()
        # Chromium does not expose the open list of suggestions.
        expect(page.locator("#dataset-uri-names option")).to_have_attribute("value", "dataset:pets")
        dataset.fill("dataset:pets")
        page.get_by_label("Method", exact=True).select_option("ce")
        page.get_by_text("Other fields as JSON").click()
        page.get_by_label("JSON merged with the fields above").fill('{"training": {"epochs": 20, "batch_size": 32}}')
        page.get_by_role("button", name="Estimate").click()
        expect(page.locator("#estimate")).to_contain_text("About 3 min 20 s, 5 MB of memory")
        page.get_by_role("link", name="a similar job").click()
        page.wait_for_url(f"**/ui/jobs/{similar}")
    engine.dispose()


def test_lost_connection_is_shown(page: Page, console_errors: list[str], stack: Stack) -> None:
    page.goto(f"{stack.url}/ui/jobs")
    page.context.set_offline(True)
    expect(page.locator("#stale")).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator("#stale")).to_be_hidden()
    clear_expected(page, console_errors)  # of the failed requests


def test_action_without_a_connection_says_so(page: Page, console_errors: list[str], stack: Stack, data: Path) -> None:
    job = submit(stack, data, LONG_JOB)
    page.goto(f"{stack.url}/ui/jobs/{job}")
    page.get_by_text("Edit name and tags").click()
    page.get_by_label("Name").fill("renamed")
    page.context.set_offline(True)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The service could not be reached")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_enabled()
    page.context.set_offline(False)
    page.goto(f"{stack.url}/ui/new")
    page.get_by_label("Student", exact=True).fill("resnet18")
    page.context.set_offline(True)
    page.get_by_role("button", name="Estimate").click()
    expect(page.get_by_role("alert")).to_contain_text("The service could not be reached")
    page.context.set_offline(False)
    with Client(stack.url) as client:
        client.jobs.cancel(job)
    clear_expected(page, console_errors)  # of the failed requests


@pytest.mark.parametrize(("status", "cause"), [(404, "no longer exists"), (503, "The service answered with HTTP 503.")])
def test_notice_says_why_a_page_is_out_of_date(
    page: Page, console_errors: list[str], stack: Stack, status: int, cause: str
) -> None:
    page.goto(f"{stack.url}/ui/workers")
    page.route("**/ui/workers", lambda route: route.fulfill(status=status, body=""))
    expect(page.locator("#stale")).to_contain_text(cause)
    page.unroute_all(behavior="wait")
    expect(page.locator("#stale")).to_be_hidden()
    clear_expected(page, console_errors)  # of the failed requests


def test_keys_are_created_shown_once_and_revoked(
    context: BrowserContext, page: Page, console_errors: list[str], sqlite_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url=sqlite_url, storage_url=f"file:{tmp_path}/storage")
    with served(settings) as url:
        page.goto(f"{url}/ui/keys")
        page.get_by_label("Name").fill("dashboard <b>")
        expect(page.get_by_label("Scope")).to_have_value("admin")
        page.get_by_role("button", name="Create key").click()
        expect(page.locator("#secret")).to_be_visible()
        secret = page.get_by_label("Secret key").inner_text()
        # From now on pages need a key, which the browser sends as the password of Basic authentication.
        browser = context.browser
        assert browser is not None
        authenticated = browser.new_context(http_credentials={"username": "key", "password": secret})
        keys = authenticated.new_page()
        keys.goto(f"{url}/ui/keys")
        expect(keys.locator("#keys")).to_contain_text("dashboard <b>")
        assert secret not in keys.content()
        keys.get_by_label("Name").fill("nightly")
        keys.get_by_role("button", name="Create key").click()
        keys.once("dialog", lambda dialog: dialog.accept())
        keys.get_by_role("button", name="Revoke nightly").click()
        expect(keys.locator("#keys tr", has_text="nightly")).to_contain_text("revoked")
        # A long name leaves space for the other columns.
        keys.get_by_label("Name").fill("k" * 100)
        keys.get_by_role("button", name="Create key").click()
        row = keys.locator("#keys tr", has_text="k" * 100)
        for cell in (row.locator('[data-label="Prefix"] > div'), row.locator('[data-label="Scope"] > div')):
            assert cell.evaluate("cell => cell.getBoundingClientRect().height") < 30
        assert row.get_by_role("button").evaluate("button => button.getBoundingClientRect().height") < 40
        authenticated.close()
    console_errors.clear()  # the page that has no key
