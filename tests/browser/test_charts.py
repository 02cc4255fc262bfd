"""Charts in a real browser: labels, readout, zoom, legend, files, and what a screen reader gets."""

import csv
import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import delete

from tests.browser.conftest import clear_expected
from tests.browser.gallery import STUDENTS, Gallery
from tests.support.factories import claimed, queued
from tests.support.runs import fail
from tests.support.tiny import wait_until
from ttm_client import Client
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Job, Metric
from ttm_jobs.repositories.jobs.leases import fence
from ttm_jobs.repositories.run_data import metrics, recording

LAST_ACCURACY = "student 70.81%"


def job(gallery: Gallery) -> str:
    return f"{gallery.url}/ui/jobs/{gallery.jobs['succeeded'][0]}#metrics"


def comparison(gallery: Gallery) -> str:
    return f"{gallery.url}/ui/compare?" + "&".join(f"job={each}" for each in gallery.jobs["succeeded"])


def chart(page: Page, name: str, curves: int = 1) -> Locator:
    """The chart, once it has this many curves. The points of several jobs arrive one after the other."""
    found = page.locator(f'[data-chart="{name}"]')
    expect(found.locator("polyline").nth(curves - 1)).to_be_visible()
    return found


def curve_colors(curves: Locator) -> list[str]:
    """The classes of the drawn curves, sorted: curves are drawn in the order in which their points arrive."""
    return sorted(curves.locator("polyline").evaluate_all("lines => lines.map((line) => line.getAttribute('class'))"))


def text_outside_the_image(page: Page) -> list[str]:
    """Texts of charts that reach over the edge of their SVG image."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll(".charts svg text")].filter((text) => {
          const box = text.getBoundingClientRect(), image = text.ownerSVGElement.getBoundingClientRect();
          return box.width && (box.left < image.left - 0.5 || box.right > image.right + 0.5);
        }).map((text) => text.textContent)"""
    )
    return found


def overlapping_names(page: Page) -> list[str]:
    """Pairs of labels in the scatter plot that cover each other."""
    found: list[str] = page.evaluate(
        """() => {
          const names = [...document.querySelectorAll("[data-scatter] .name")].map((name) => [name.textContent, name.getBoundingClientRect()]);
          return names.flatMap(([one, a], i) => names.slice(i + 1).filter(([, b]) =>
            a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3).map(([other]) => `${one} and ${other}`));
        }"""
    )
    return found


@pytest.mark.parametrize("width", [1280, 390])
def test_chart_labels_are_complete_and_do_not_overlap(page: Page, gallery: Gallery, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for name, address in (("job", job(gallery)), ("compare", comparison(gallery))):
        page.goto(address)
        expect(page.locator(".charts polyline").first).to_be_visible()
        expect(
            page.locator(f'[data-chart="{"memory" if name == "job" else "overlay"}"] polyline').first
        ).to_be_visible()
        assert text_outside_the_image(page) == []
    for cost in ("parameters", "macs", "latency"):
        page.locator("[data-cost]").select_option(cost)
        assert text_outside_the_image(page) == []
        assert overlapping_names(page) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_labels_of_many_long_names_do_not_overlap(page: Page, gallery: Gallery, width: int) -> None:
    """Labels for which there is no space are left out."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(comparison(gallery))
    for name in ("architecture of a family", "W" * 200, "🚀" * 200, "שלום" * 50):
        for count in (12, 20):
            page.evaluate(
                """async ([name, count]) => {
                  const { scatter } = await import("/static/charts/scatter.js");
                  const points = Array.from({ length: count }, (_, i) => ({ name: `${i} ${name}`, cost: 1e6 * (1 + i / 40), top1: 0.9 + i / 2000, color: "s0" }));
                  scatter(document.querySelector("[data-scatter]"), points, { unit: "parameters", teacher: 0.92 });
                }""",
                [name, count],
            )
            expect(page.locator("[data-scatter] circle.dot")).to_have_count(count)
            labels = page.locator("[data-scatter] text.name")
            assert labels.count() >= 4
            assert all("\ufffd" not in label for label in labels.all_text_contents())
            assert overlapping_names(page) == []
            assert text_outside_the_image(page) == []


def test_zoomed_curves_stay_inside_the_plot(page: Page, gallery: Gallery) -> None:
    page.goto(job(gallery))
    curve = page.locator('[data-chart="loss"] svg')
    expect(curve.locator("polyline").first).to_be_visible()
    curve.focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    left = float(curve.locator("clipPath rect").get_attribute("x") or 0)

    def is_longer_than_the_plot() -> bool:
        points = (curve.locator("polyline").first.get_attribute("points") or "").split()
        return min(float(pair.partition(",")[0]) for pair in points) < left

    wait_until(is_longer_than_the_plot)
    group = curve.locator("g[clip-path]")
    expect(group.locator("polyline").first).to_be_attached()
    assert group.get_attribute("clip-path") == f"url(#{curve.locator('clipPath').get_attribute('id')})"


def test_pareto_front_has_the_non_dominated_jobs(page: Page, gallery: Gallery) -> None:
    page.goto(comparison(gallery))
    drawing = page.locator("[data-scatter] svg")
    for cost, index in (("parameters", 1), ("macs", 2), ("latency", 3)):
        page.locator("[data-cost]").select_option(cost)
        best = {
            name
            for name, this in STUDENTS.items()
            if not any(
                other[0] >= this[0] and other[index] <= this[index] and other != this for other in STUDENTS.values()
            )
        }
        expect(drawing.locator(".outline")).to_have_count(len(best))
        label = drawing.get_attribute("aria-label") or ""
        assert all(name.partition("/")[2] in label for name in best)
    differing = page.locator("tbody th code").all_inner_texts()
    assert differing == ["student.architecture", "method.beta"]
    expect(page.locator('[data-chart="overlay"] polyline')).to_have_count(len(STUDENTS))


def test_comparison_curves_over_time(page: Page, gallery: Gallery) -> None:
    page.goto(comparison(gallery))
    chart = page.locator('[data-chart="overlay"]')
    expect(chart.locator("polyline")).to_have_count(len(STUDENTS))
    page.get_by_label("Metric").select_option("train/loss")
    page.get_by_label("X axis").select_option("time")
    # The example jobs take two seconds per step.
    expect(chart.locator("svg")).to_contain_text("2 min2.5 min3 min")
    expect(chart.locator("polyline")).to_have_count(len(STUDENTS))
    whole = chart.locator("polyline").first.get_attribute("points")
    chart.locator("svg").focus()
    page.keyboard.press("+")
    page.get_by_role("button", name="Reset zoom").click()
    expect(chart.locator("polyline").first).to_have_attribute("points", whole or "")


def test_chart_readout_and_zoom_with_the_keyboard(page: Page, gallery: Gallery) -> None:
    page.goto(job(gallery))
    curve, legend = page.locator('[data-chart="accuracy"] svg'), page.locator('[data-chart="accuracy"] .legend')
    expect(legend).to_contain_text(LAST_ACCURACY)
    whole = curve.locator("polyline").get_attribute("points")
    curve.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    expect(legend).not_to_contain_text(LAST_ACCURACY)
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()
    expect(curve).to_be_focused()
    expect(curve.locator("polyline")).not_to_have_attribute("points", whole or "")
    page.keyboard.press("Escape")
    expect(curve.locator("polyline")).to_have_attribute("points", whole or "")


def test_chart_smoothing_scale_and_axis(page: Page, gallery: Gallery) -> None:
    page.goto(job(gallery))
    line = page.locator('[data-chart="loss"] polyline').first
    drawn = [line.get_attribute("points")]
    page.get_by_label("Smoothing").fill("0.9")
    expect(line).not_to_have_attribute("points", drawn[0] or "")
    drawn.append(line.get_attribute("points"))
    page.get_by_label("Logarithmic loss").check()
    expect(line).not_to_have_attribute("points", drawn[1] or "")
    page.get_by_label("X axis").select_option("epoch")
    expect(page.locator('[data-chart="loss"]')).to_contain_text("20")


def test_cursor_and_zoom_are_shared_by_the_charts_of_a_page(page: Page, gallery: Gallery) -> None:
    page.goto(job(gallery))
    loss, accuracy = chart(page, "loss"), chart(page, "accuracy")
    loss.locator("svg").hover(position={"x": 300, "y": 100})
    place = loss.locator(".place").inner_text()
    assert place != "step 120"
    for other in (accuracy, chart(page, "rate")):
        expect(other.locator(".cursor")).to_have_attribute("visibility", "visible")
        expect(other.locator(".legend")).not_to_contain_text(LAST_ACCURACY)
    page.mouse.move(0, 0)
    expect(accuracy.locator(".cursor")).to_have_attribute("visibility", "hidden")

    whole = accuracy.locator("polyline").get_attribute("points")
    box = loss.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 150, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 350, box["y"] + 80)
    page.mouse.up()
    expect(accuracy.locator("polyline")).not_to_have_attribute("points", whole or "")
    loss.locator("svg").dblclick(position={"x": 300, "y": 100})
    expect(accuracy.locator("polyline")).to_have_attribute("points", whole or "")
    expect(page.get_by_role("button", name="Reset zoom")).to_be_hidden()


def test_series_that_arrive_keep_the_elements_of_the_others(page: Page, gallery: Gallery) -> None:
    """The focus stays on an entry while the values of other jobs arrive."""
    page.goto(comparison(gallery))
    focused, *names = page.evaluate(
        """async () => {
            const { Legend } = await import("/static/charts/legend.js");
            const legend = new Legend(() => {});
            document.body.append(legend.list);
            const show = (...names) => legend.show(names.map((name) => ({ name, color: "c1" })), new Set(), null);
            const names = () => [...legend.list.querySelectorAll(".series")].map((each) => each.textContent).join();
            show("b", "d");
            legend.list.querySelector("button").focus();
            const shown = [names()];
            show("a", "b", "c", "d");
            shown.push(names());
            const focused = document.activeElement.textContent.trim();
            show("d", "b");
            return [focused, ...shown, names()];
        }"""
    )
    assert focused == "b"
    assert names == ["b,d", "a,b,c,d", "d,b"]


def test_legend_hides_and_shows_a_series(page: Page, gallery: Gallery) -> None:
    page.goto(comparison(gallery))
    curves = chart(page, "overlay", len(STUDENTS))
    colors = curve_colors(curves)
    entry = curves.get_by_role("button", name="flowers resnet32")
    entry.click()
    expect(entry).to_have_attribute("aria-pressed", "false")
    expect(curves.locator("polyline")).to_have_count(len(STUDENTS) - 1)
    # The other series keep their colors.
    assert curve_colors(curves) == [color for color in colors if color != colors[2]]
    entry.press("Enter")
    expect(curves.locator("polyline")).to_have_count(len(STUDENTS))


def test_new_points_change_the_drawing_and_keep_its_elements(page: Page, gallery: Gallery) -> None:
    page.goto(job(gallery))
    chart(page, "loss")
    page.evaluate("window.before = document.querySelector('[data-chart=\"loss\"] svg')")
    page.get_by_label("X axis").select_option("epoch")
    expect(page.locator('[data-chart="loss"] .place')).to_have_text("step 120")
    assert page.evaluate("window.before === document.querySelector('[data-chart=\"loss\"] svg')")


def test_single_point_is_a_visible_dot(page: Page, gallery: Gallery) -> None:
    """And rates of at least 10,000 have no exponent."""
    with session_scope(gallery.engine) as session:
        one = session.get_one(Job, gallery.jobs["failed"])
        metrics.upsert(session, one, [metrics.Point(5, 1, {"train/images_per_second": 12345.6}, now(session))])
        one.latest = {"train/images_per_second": 12345.6}
    try:
        page.goto(f"{gallery.url}/ui/jobs/{gallery.jobs['failed']}#metrics")
        speed = page.locator('[data-chart="speed"]')
        expect(speed.locator(".legend")).to_contain_text("12,346")
        width = speed.locator("polyline").evaluate("line => parseFloat(getComputedStyle(line).strokeWidth)")
        assert width >= 5
    finally:
        with session_scope(gallery.engine) as session:
            session.get_one(Job, gallery.jobs["failed"]).latest = {}
            session.execute(delete(Metric).where(Metric.job_id == gallery.jobs["failed"]))


def test_labels_of_neighboring_ticks_differ(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url)
    written = page.evaluate(
        """async () => {
          const { percent, round, size, tickStep, ticks } = await import("/static/charts/axes.js");
          const labels = (low, high, write) => ticks(low, high, 4).map((tick) => write(tick, tickStep(low, high, 4)));
          return [
            labels(0.09, 0.106, percent), labels(0, 1, percent), labels(0.98715, 0.98794, percent), labels(0.98715, 0.98797, percent), labels(1.00012, 1.00048, round),
            labels(-0.31, 0.09, round), labels(1234, 1239, round), labels(1.1011e9, 1.1049e9, size), labels(0, 4e6, size),
          ];
        }"""
    )
    assert written == [
        ["9.0%", "9.5%", "10.0%", "10.5%"],
        ["0%", "50%", "100%"],
        ["98.72%", "98.74%", "98.76%", "98.78%"],
        ["98.75%"],
        ["1.0002", "1.0003", "1.0004"],
        ["-0.3", "-0.2", "-0.1", "0"],
        ["1234", "1236", "1238"],
        ["1.102 GB", "1.103 GB", "1.104 GB"],
        ["0 B", "1 MB", "2 MB", "3 MB", "4 MB"],
    ]


def test_curves_stay_with_their_jobs_when_the_groups_change(page: Page, gallery: Gallery) -> None:
    """A running job joins the group of the first job once its spec equals it, and moves up in the table."""
    first, second = gallery.jobs["succeeded"][:2]
    running = gallery.jobs["running"]
    page.goto(f"{gallery.url}/ui/compare?job={first}&job={second}&job={running}")
    curves = chart(page, "overlay", 3)
    expect(curves.get_by_role("button", name="flowers resnet8x4")).to_contain_text("73.59%")
    with session_scope(gallery.engine) as session:
        job = session.get_one(Job, running)
        spec = job.spec
        job.spec = session.get_one(Job, first).spec | {"training": {**spec["training"], "seed": 1}}
        metrics.upsert(session, job, [metrics.Point(100, 100 / 6, {"validation/top1": 0.5}, now(session))])
    try:
        expect(page.locator("#compared tr[data-group]")).to_have_count(2)
        entry = curves.get_by_role("button", name="flowers resnet20, gamma 0.5")
        expect(entry).to_contain_text("50.00%")
        expect(curves.get_by_role("button", name="flowers resnet8x4")).to_contain_text("73.59%")
        colors = page.locator("#compared .swatch").evaluate_all("swatches => swatches.map((each) => each.className)")
        assert colors == ["swatch s0", "swatch s1"]
        assert curve_colors(curves) == ["line s0", "line s0", "line s1"]
    finally:
        with session_scope(gallery.engine) as session:
            session.get_one(Job, running).spec = spec
            session.execute(delete(Metric).where(Metric.job_id == running, Metric.step == 100))


def test_metric_chosen_without_a_connection_is_drawn_when_it_is_back(
    page: Page, gallery: Gallery, console_errors: list[str]
) -> None:
    first, second = gallery.jobs["succeeded"][:2]
    page.goto(f"{gallery.url}/ui/compare?job={first}&job={second}")
    chart(page, "overlay", 2)
    page.context.set_offline(True)
    page.get_by_label("Metric").select_option("train/loss")
    curves = page.locator('[data-chart="overlay"]')
    expect(curves).to_contain_text("The curves could not be loaded.")
    expect(page.locator("#stale")).to_contain_text("Connection lost.")
    page.context.set_offline(False)
    expect(curves.locator("polyline")).to_have_count(2)
    expect(page.locator("#stale")).to_be_hidden()
    clear_expected(page, console_errors)  # of the failed requests


@pytest.mark.parametrize("choice", [None, "train/loss"])
def test_accuracy_is_drawn_once_it_is_reported(page: Page, gallery: Gallery, choice: str | None) -> None:
    """Losses are reported first. A metric that the user has chosen stays."""
    leases = [claimed(gallery.engine, queued(gallery.engine)) for _ in range(2)]
    jobs = [lease.job_id for lease in leases]

    def report(step: int, values: dict[str, float]) -> None:
        for lease in leases:
            with session_scope(gallery.engine) as session:
                job = fence(session, lease)
                recording.metrics(session, job, {"step": step, "epoch": step / 10, "values": values}, now(session))
                metrics.upsert(session, job, [metrics.Point(step, step / 10, values, now(session))])

    report(1, {"train/ce": 0.9, "train/loss": 1.0})
    try:
        page.goto(f"{gallery.url}/ui/compare?job={jobs[0]}&job={jobs[1]}")
        metric = page.get_by_label("Metric")
        expect(metric).to_have_value("train/ce")
        if choice:
            metric.select_option(choice)
        report(2, {"train/ce": 0.8, "train/loss": 0.9, "validation/top1": 0.5})
        expect(metric.locator("option", has_text="validation/top1")).to_have_count(1)
        expect(metric).to_have_value(choice or "validation/top1")
        expect(page.locator('[data-chart="overlay"] .legend button').first).to_contain_text(
            "0.9" if choice else "50.00%"
        )
    finally:
        for lease in leases:
            fail(gallery.engine, lease)
            with Client(gallery.url) as client:
                client.jobs.delete(lease.job_id)


def test_key_presses_are_read_out(page: Page, gallery: Gallery) -> None:
    page.goto(job(gallery))
    loss = chart(page, "loss")
    spoken = loss.get_by_role("status")
    expect(spoken).to_have_text("")
    loss.locator("svg").hover(position={"x": 300, "y": 100})
    expect(spoken).to_have_text("")
    loss.locator("svg").focus()
    page.keyboard.press("ArrowLeft")
    expect(spoken).to_contain_text("step ")
    expect(spoken).to_contain_text("loss ")


def test_charts_are_saved_as_images_and_tables(page: Page, gallery: Gallery, tmp_path: Path) -> None:
    page.goto(comparison(gallery))
    chart(page, "overlay", len(STUDENTS))
    files = {}
    for title, kind in (("validation/top1", "PNG"), ("validation/top1", "CSV"), ("Top-1 against parameters", "CSV")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {title} as {kind}").click()
        files[title, kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[title, kind])
    assert {path.name for path in files.values()} == {
        "validation-top1.png",
        "validation-top1.csv",
        "top-1-against-parameters.csv",
    }
    with Image.open(files["validation/top1", "PNG"]) as image:
        colors = image.convert("RGB").getcolors(1 << 24) or []
        # Not an empty canvas: the background and five colored curves.
        assert len([color for count, color in colors if count > 50 and max(color) - min(color) > 60]) >= len(STUDENTS)
    rows = list(csv.DictReader(io.StringIO(files["validation/top1", "CSV"].read_text())))
    assert {row["series"] for row in rows} == {f"flowers {name.removeprefix('cifar/')}" for name in STUDENTS}
    assert rows[-1]["step"] == "120"
    assert 0 < float(rows[-1]["value"]) < 1
    points = list(csv.DictReader(io.StringIO(files["Top-1 against parameters", "CSV"].read_text())))
    assert {float(point["top1"]) for point in points} == {row[0] for row in STUDENTS.values()}


def test_names_in_a_saved_table_are_not_formulas(page: Page, gallery: Gallery) -> None:
    page.goto(job(gallery))
    written = page.evaluate(
        """async () => {
          const { exportButtons } = await import("/static/charts/export.js");
          const rows = () => [["=HYPERLINK(1)", 1], ['a "b", c', -2], ["@x", null]];
          const buttons = exportButtons({ title: () => "x", svg: () => null, columns: () => ["name", "value"], rows });
          let blob;
          const original = URL.createObjectURL;
          URL.createObjectURL = (given) => { blob = given; return original.call(URL, given); };
          buttons.lastChild.click();
          await new Promise((done) => setTimeout(done));
          return blob.text();
        }"""
    )
    assert written == 'name,value\r\n\'=HYPERLINK(1),1\r\n"a ""b"", c",-2\r\n\'@x,\r\n'
