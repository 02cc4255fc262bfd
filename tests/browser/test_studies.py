"""The pages of studies: layout, accessibility, and the chart."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.api.conftest import make_settings
from tests.browser.conftest import clear_expected
from tests.browser.gallery import Gallery
from tests.browser.test_pages import CHECKS, accessibility_violations
from tests.support.api_server import served
from tests.support.models import create_model
from tests.support.studies import create_study
from tests.support.study_jobs import end_study
from ttm_client import Client, NotFound
from ttm_core.models.weights import write_safetensors
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings


@pytest.fixture(scope="module")
def study(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of an API, and the id of a study that has succeeded."""
    folder = tmp_path_factory.mktemp("studies")
    shutil.copy(sqlite_template, folder / "ttm.db")
    settings = Settings(
        database_url=f"sqlite:///{folder / 'ttm.db'}",
        storage_url=f"file:{folder / 'storage'}",
        broker_url="redis://127.0.0.1:1/0",
    )
    engine = create_engine(settings.database_url)
    study_id = create_study(
        engine,
        name="flowers on the kiosk",
        limits={"retention": 0.5, "bytes": 1_500_000},
        students=["cifar/resnet8", "cifar/resnet20", "cifar/resnet32", "cifar/resnet56", "cifar/resnet110"],
        search={"method.beta": [1, 4]},
    )
    end_study(engine, study_id)
    with served(settings) as url:
        yield url, study_id
    engine.dispose()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_study_pages_are_accessible_and_fit_the_viewport(
    page: Page, study: tuple[str, str], width: int, scheme: str
) -> None:
    url, study_id = study
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for address in ("/ui/studies", f"/ui/studies/{study_id}", "/ui/new-study"):
        page.goto(url + address)
        if study_id in address:
            # The fifth student is too large: it was not trained, and stands at the bottom. Four candidates were stopped.
            rejected = page.locator("[data-scatter] circle.dot.s8")
            expect(rejected).to_have_count(6)
            expect(rejected.first.locator("title")).to_contain_text(
                re.compile("of [0-9.]+% after epoch .* not among the best of rung 0")
            )
            expect(page.locator("[data-scatter] text.name").filter(has_text="✕")).to_have_count(4)
            expect(page.locator("[data-scatter] circle.dot")).to_have_count(10)
            # Both limits are shaded.
            expect(page.locator("[data-scatter] rect.excluded")).to_have_count(2)
            expect(page.locator("#rungs tbody tr")).to_have_count(8)
            expect(page.locator("[data-parallel] polyline")).to_have_count(10)
            expect(page.locator("#rungs")).to_contain_text("final runs")
            page.locator("[data-cost]").select_option("latency")
            expect(page.locator("[data-scatter] svg")).to_have_attribute(
                "aria-label", re.compile("Top-1 against latency")
            )
        assert page.evaluate(CHECKS) == [], address
        assert accessibility_violations(page, address) == [], address


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_jobs_page_shows_the_jobs_of_one_study_or_of_all(
    page: Page, study: tuple[str, str], width: int, scheme: str
) -> None:
    url, study_id = study
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{url}/ui/studies/{study_id}")
    page.get_by_role("link", name="All jobs of this study").click()
    page.wait_for_url(f"**/ui/jobs?study={study_id}")
    rows = page.locator("#jobs tbody tr")
    expect(rows).not_to_have_count(0)
    assert page.evaluate(CHECKS) == []
    assert accessibility_violations(page, "jobs of a study") == []
    page.get_by_role("link", name="Remove the filter by study").click()
    expect(page.locator("#jobs")).to_contain_text("No jobs yet except those of studies.")
    assert page.evaluate(CHECKS) == []
    page.get_by_role("link", name="Show jobs of studies").click()
    expect(rows).not_to_have_count(0)
    assert accessibility_violations(page, "jobs with studies") == []
    page.get_by_role("link", name="Hide jobs of studies").click()
    expect(rows).to_have_count(0)


def test_training_of_candidates_is_readable_at_the_smallest_width(page: Page, study: tuple[str, str]) -> None:
    """The name of a student is above its bar, and all bars have the same width."""
    url, study_id = study
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"{url}/ui/studies/{study_id}")
    table = page.get_by_role("region", name="Training, table")
    assert table.evaluate("table => table.scrollWidth - table.clientWidth") == 0
    rows = table.locator("tbody tr").evaluate_all(
        """rows => rows.map((row) => [...row.cells].map((cell) => cell.getBoundingClientRect()))
          .map(([name, bar, text]) => [name.bottom <= bar.top, bar.width, text.right <= innerWidth])"""
    )
    assert len(rows) == 8
    assert {(above, inside) for above, _, inside in rows} == {(True, True)}
    assert len({bar for _, bar, _ in rows}) == 1


def test_range_on_an_axis_selects_lines_and_rows(page: Page, study: tuple[str, str]) -> None:
    """With the keyboard and with the pointer. Excluded candidates are grey in the chart and in the table."""
    url, study_id = study
    page.goto(f"{url}/ui/studies/{study_id}")
    chart, rows = page.locator("[data-parallel]"), page.locator("#candidates tbody tr")
    expect(chart.locator("polyline")).to_have_count(10)
    for title in ("student", "beta", "file size", "latency", "top-1"):
        expect(chart.get_by_role("slider", name=f"{title}, lowest")).to_have_count(1)

    lowest = chart.get_by_role("slider", name="beta, lowest")
    expect(lowest).to_have_attribute("aria-valuetext", "1")
    lowest.focus()
    page.keyboard.press("ArrowUp")
    expect(lowest).to_be_focused()
    expect(lowest).to_have_attribute("aria-valuenow", "5")
    expect(page.get_by_text("5 of 10 candidates selected")).to_be_visible()
    expect(chart.locator("polyline.faded")).to_have_count(5)
    expect(rows.and_(page.locator(".excluded"))).to_have_count(5)
    expect(rows.and_(page.locator(".excluded")).first).to_contain_text("beta 1")
    page.keyboard.press("Escape")
    expect(chart.locator("polyline.faded")).to_have_count(0)

    # The upper half of the last axis, whose accuracies the untrained candidates do not have.
    track = chart.locator("rect.track").last.bounding_box()
    assert track is not None
    x, middle = track["x"] + track["width"] / 2, track["y"] + track["height"] / 2
    page.mouse.move(x, middle)
    page.mouse.down()
    page.mouse.move(x, track["y"] + 8, steps=3)
    page.mouse.up()
    expect(chart.locator("polyline.s8:not(.faded)")).to_have_count(0)
    expect(page.locator("[data-brushed]")).to_have_text(re.compile("^[1-7] of 10 candidates selected"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Save Hyper-parameters and results as CSV").click()
    header = download.value.path().read_text().splitlines()[0]
    assert header == "name,student,method.beta,bytes,latency_ms,top1"
    page.get_by_role("button", name="Clear selection").click()
    expect(rows.and_(page.locator(".excluded"))).to_have_count(0)
    expect(page.locator("[data-brushed]")).to_be_empty()


def test_form_finds_missing_limits_and_fields_at_once(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.url}/ui/new-study")
    page.get_by_label("Largest ONNX file in MB").fill("")
    page.get_by_role("button", name="Start the study").click()
    faults = page.locator(".fault")
    expect(faults).to_have_text(["Field required", "Field required", "Enter a number, or clear the check box."])
    page.get_by_label("Keep at least this share").first.uncheck()
    page.get_by_label("Largest ONNX file").first.uncheck()
    page.get_by_role("button", name="Start the study").click()
    expect(faults).to_have_text(["Field required", "Field required", "Choose at least one limit."])
    page.get_by_label("Longest latency of one image").first.check()
    page.goto(gallery.url)
    page.go_back()
    expect(page.get_by_label("Longest latency of one image in ms")).to_be_enabled()
    expect(page.get_by_label("Largest ONNX file in MB")).to_be_disabled()


def test_ended_study_is_deleted(page: Page, console_errors: list[str], sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    engine = create_engine(settings.database_url)
    study_id = create_study(engine, students=["cifar/resnet8", "cifar/resnet20"])
    end_study(engine, study_id)
    engine.dispose()
    with served(settings) as url, Client(url) as client:
        page.goto(f"{url}/ui/studies/{study_id}")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete").click()
        page.wait_for_url(f"{url}/ui/studies")
        # The page may have asked for itself between the deletion and its end.
        console_errors[:] = [text for text in console_errors if "404" not in text]
        with pytest.raises(NotFound):
            client.studies.get(study_id)


def test_form_shows_the_candidates_and_starts_a_study(
    page: Page, console_errors: list[str], sqlite_url: str, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher.safetensors"
    structure = {"architecture": "mini/resnet8_100", "num_classes": 10}
    weights = create_model("mini/resnet8_100", num_classes=10).state_dict()
    write_safetensors(teacher, weights, {"format": 2, "structure": structure})
    settings = make_settings(sqlite_url, tmp_path)
    # Without a worker the study stays in its first stage.
    with served(settings) as url:
        page.goto(f"{url}/ui/new-study")
        page.get_by_label("File for teacher").set_input_files(teacher)
        expect(page.get_by_label("Teacher", exact=True)).to_have_value(re.compile("^upload:"))
        page.get_by_label("Dataset", exact=True).fill(settings.data_roots[0].as_uri())
        page.get_by_label("Students").fill("mini/resnet8_025 mini/resnet8_05*")
        page.get_by_label("Epochs of a complete run").fill("9")
        page.get_by_label("Largest ONNX file in MB").fill("0.4")
        expect(page.locator("#candidates")).to_contain_text("mini/resnet8_025")
        page.get_by_label("Most candidates to train").fill("0")
        page.get_by_label("Students").fill("zz* resnet1999")
        page.get_by_role("button", name="Start the study").click()
        expect(page.get_by_label("Most candidates to train")).to_have_attribute("aria-invalid", "true")
        expect(page.locator(".fault")).to_have_count(2)
        expect(page.get_by_label("Students").locator("..").locator(".fault")).to_have_text(
            re.compile(r"^No architecture matches 'zz\*'\.\s+There is no architecture 'resnet1999'")
        )
        clear_expected(page, console_errors)  # of the rejected request
        page.get_by_label("Students").fill("mini/resnet8_025 mini/resnet8_05*")
        page.get_by_label("Most candidates to train").fill("4")
        page.get_by_role("button", name="Start the study").click()
        page.wait_for_url("**/ui/studies/*")
        with Client(url) as client:
            study = client.studies.get(page.url.rpartition("/")[2])
            assert study.limits["retention"] == 0.97
            assert study.limits["bytes"] == 400_000
            assert "latency_ms" not in {name for name, value in study.limits.items() if value is not None}
            assert study.spec["training"]["epochs"] == 9
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            page.get_by_role("button", name="Cancel").click()
            expect(page.locator("#status .state")).to_have_text(re.compile("cancel"))


def test_study_is_edited_and_submitted_again(page: Page, sqlite_url: str, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    structure = {"architecture": "mini/resnet8_100", "num_classes": 10}
    weights = create_model("mini/resnet8_100", num_classes=10).state_dict()
    write_safetensors(teacher, weights, {"format": 2, "structure": structure})
    settings = make_settings(sqlite_url, tmp_path)
    with served(settings) as url, Client(url) as client:
        first = client.studies.create(
            name="kiosk",
            teacher=teacher,
            dataset=settings.data_roots[0].as_uri(),
            limits={"accuracy": 0.8, "bytes": 400_000, "precision": "fp32"},
            students=["mini/resnet8_025", {"family": "mini/resnet8_05*"}],
            search={"method.beta": [1, 2]},
            training={"epochs": 9, "optimizer": {"name": "adamw"}},
            goal="smallest",
            tags=["night"],
        )
        page.goto(f"{url}/ui/studies/{first.id}")
        page.get_by_text("Spec", exact=True).click()
        curl, _, ttm = page.locator("#spec details pre").all_text_contents()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TTM_")}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        for command in (curl, ttm.replace("--watch", "--dry-run")):
            ended = subprocess.run(
                ["bash", "-euc", command], env=environment, capture_output=True, text=True, check=False
            )
            assert ended.returncode == 0, ended.stderr
        again = next(iter(client.studies.list()))
        assert client.studies.get(again.id).spec == first.spec
        assert again.id != first.id

        page.get_by_role("link", name="Edit and resubmit").click()
        page.wait_for_url(f"**/ui/new-study?from={first.id}")
        expect(page.get_by_label("Students")).to_have_value("mini/resnet8_025 mini/resnet8_05*")
        expect(page.get_by_label("Largest ONNX file in MB")).to_have_value("0.4")
        expect(page.get_by_label("Device that the latency is for")).to_have_value("")
        expect(page.get_by_label("Keep at least this share").first).not_to_be_checked()
        expect(page.locator("#candidates")).to_contain_text("mini/resnet8_025")
        assert page.evaluate(CHECKS) == []
        page.get_by_label("Epochs of a complete run").fill("12")
        page.get_by_role("button", name="Start the study").click()
        page.wait_for_url(lambda address: first.id not in address and "/ui/studies/" in address)
        study = client.studies.get(page.url.rpartition("/")[2])
        assert study.spec == {**first.spec, "training": {**first.spec["training"], "epochs": 12}}
        assert study.tags == ("night",)

        # What is no JSON is reported next to its field.
        page.goto(f"{url}/ui/new-study?from={first.id}")
        page.get_by_label("JSON merged with the fields above").fill("{")
        page.get_by_role("button", name="Start the study").click()
        expect(page.locator(".fault")).to_contain_text("Not valid JSON")
