"""Layout and accessibility of every page, at two widths, light and dark."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.gallery import HOSTILE, STUDENTS, Gallery, create_many
from tests.support.factories import create_job
from tests.support.tiny import wait_until
from ttm_client import Client
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import control

ROOT = Path(__file__).parents[2]
CHECKS = (Path(__file__).parent / "checks.js").read_text()
# The last point of the student's accuracy: once it is shown, the page is complete.
LAST_ACCURACY = {"job": "student 70.81%", "running": "student 67.15%"}


def urls(gallery: Gallery) -> dict[str, str]:
    jobs = gallery.jobs
    return {
        "home": "/",
        "jobs": "/ui/jobs?state=queued&state=running&state=succeeded",
        "job": f"/ui/jobs/{jobs['succeeded'][0]}#metrics",
        "running": f"/ui/jobs/{jobs['running']}",
        "failed": f"/ui/jobs/{jobs['failed']}",
        "grouped jobs": "/ui/jobs?group=student",
        "compare": "/ui/compare?" + "&".join(f"job={job}" for job in jobs["succeeded"]),
        "new": "/ui/new?student=resnet18",
        "architectures": "/ui/architectures?q=mobilenet",
        "recipes": "/ui/recipes?q=resnet56",
        "queue": "/ui/queue",
        "empty queue": "/ui/queue?queue=gpu",
        "workers": "/ui/workers",
        "stores": "/ui/stores",
        "devices": "/ui/devices",
        "teachers": "/ui/teachers",
        "datasets": "/ui/datasets",
        "uploads": "/ui/uploads",
        "webhooks": "/ui/webhooks",
        "audit": "/ui/audit",
        "new study": "/ui/new-study",
        "keys": "/ui/keys",
        "docs": "/docs",
    }


# The API reference repeats the same structure, and axe takes half a minute for all of it.
PARTS_OF_DOCS = [".bar", ".contents", "#tag-uploads", "#schema-Accuracy", "#codes"]


def accessibility_violations(page: Page, name: str) -> list[str]:
    """Violations that axe reports as serious or critical, each with its first element."""
    context = None
    if name == "docs":
        # Elements outside the context take most of the time, because axe computes where each of them is drawn.
        page.evaluate(
            """parts => document.querySelectorAll("section, details").forEach((part) => {
                const kept = parts.join();
                if (!part.closest(kept) && !part.querySelector(kept)) part.remove();
            })""",
            PARTS_OF_DOCS,
        )
        context = {"include": [[part] for part in PARTS_OF_DOCS]}
    results = Axe().run(page, context=context, options={"resultTypes": ["violations"]}).response
    return [
        f"{violation['id']}: {violation['nodes'][0]['html'][:120]}"
        for violation in results["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "dark"),
        (390, "light"),
        pytest.param(1280, "light", marks=pytest.mark.thorough),
        pytest.param(390, "dark", marks=pytest.mark.thorough),
    ],
)
def test_pages_are_accessible_and_fit_the_viewport(
    page: Page, gallery: Gallery, tmp_path: Path, width: int, scheme: str
) -> None:
    """axe reports nothing serious, there is exactly one h1, and nothing is wider than the viewport."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    found = {}
    for name, address in urls(gallery).items():
        page.goto(gallery.url + address)
        if name in LAST_ACCURACY:
            expect(page.locator('[data-chart="accuracy"]')).to_contain_text(LAST_ACCURACY[name])
        elif name == "compare":
            expect(page.locator('[data-chart="overlay"] polyline')).to_have_count(len(STUDENTS))
        found[name] = page.evaluate(CHECKS)
        # At 390 px the layout differs, but not the colors.
        if width == 1280 or scheme == "light":
            found[name] += accessibility_violations(page, name)
        if found[name]:
            page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=name != "docs")
    assert found == {name: [] for name in found}


def test_jobs_table_with_all_columns_fits_the_viewport(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + urls(gallery)["jobs"] + "&sort=top1")
    page.locator("#columns summary").click()
    boxes = page.locator("#columns input")
    for number in range(boxes.count()):
        boxes.nth(number).check()
    columns = page.locator("#jobs thead th")
    expect(columns.filter(visible=True)).to_have_count(columns.count())
    table = page.locator(".wide-table")
    assert table.evaluate("table => table.scrollWidth - table.clientWidth") == 0
    student = page.locator('td[data-column="models"]').filter(has_text="MobileNetV2").first
    expect(student.locator(".student")).to_have_text("cifar/MobileNetV2")
    assert student.locator(".student").evaluate("name => name.scrollWidth <= name.clientWidth")


@pytest.mark.parametrize("width", [1280, 390])
def test_comparison_of_a_long_name_fits_the_viewport(page: Page, gallery: Gallery, width: int) -> None:
    client, job = Client(gallery.url), gallery.jobs["succeeded"][3]
    name = client.jobs.get(job).name
    client.jobs.update(job, name="x" * 200)
    try:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(gallery.url + urls(gallery)["compare"])
        table = page.get_by_role("region", name="Jobs, table")
        expect(table).to_contain_text("x" * 200)
        assert table.evaluate("table => table.scrollWidth - table.clientWidth") == 0
    finally:
        client.jobs.update(job, name=name)


def test_job_page_with_long_names_fits_the_viewport(page: Page, gallery: Gallery) -> None:
    with session_scope(gallery.engine) as session:
        job_id = create_job(session, name="x" * 200, owner="o" * 100, tags=["t" * 64, "nightly"]).id
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"{gallery.url}/ui/jobs/{job_id}")
    expect(page.locator("#head .tag")).to_have_count(2)
    assert page.evaluate(CHECKS) == []
    page.goto(f"{gallery.url}/ui/jobs?group=tag")
    expect(page.get_by_role("heading", name="t" * 64)).to_be_visible()
    assert page.evaluate(CHECKS) == []
    with session_scope(gallery.engine) as session:
        control.request_cancel(session, job_id)
    # Its method differs from that of the gallery's jobs, which other tests rely on.
    Client(gallery.url).jobs.delete(job_id)


def test_job_page_reads_its_curves_from_the_metrics(page: Page, gallery: Gallery) -> None:
    """The history comes from /metrics. Only a job that has not ended is followed, from its last event on."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url.removeprefix(gallery.url)))
    for name, followed in (("job", False), ("running", True)):
        requests.clear()
        page.goto(gallery.url + urls(gallery)[name])
        expect(page.locator('[data-chart="accuracy"]')).to_contain_text(LAST_ACCURACY[name])
        if followed:
            wait_until(lambda: page.wait_for_timeout(50) or any("/events" in path for path in requests))
        assert any("/metrics?max_points=" in path for path in requests)
        streams = [path.partition("/events?after=")[2] for path in requests if "/events" in path]
        assert len(streams) == (1 if followed else 0)
        assert all(int(after) > 0 for after in streams)


def test_pages_are_printed_without_controls_in_light_colors(page: Page, gallery: Gallery) -> None:
    page.emulate_media(color_scheme="dark", media="print")
    page.goto(gallery.url + urls(gallery)["job"])
    expect(page.locator('[data-chart="accuracy"] polyline').first).to_be_visible()
    expect(page.get_by_role("navigation").or_(page.get_by_role("button")).filter(visible=True)).to_have_count(0)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("body")).to_have_css("color", "rgb(27, 35, 48)")


def test_hostile_text_is_escaped(page: Page, gallery: Gallery) -> None:
    jobs = gallery.jobs
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    for address in ("/", f"/ui/jobs/{jobs['failed']}", f"/ui/compare?job={jobs['failed']}&job={jobs['queued']}"):
        page.goto(gallery.url + address)
        expect(page.get_by_text(HOSTILE, exact=True).first).to_be_visible()
        assert "taken" not in page.title().split()
        assert page.locator("img[src=x]").count() == 0


def test_direction_of_a_name_does_not_reach_the_text_around_it(page: Page, gallery: Gallery) -> None:
    """The accuracy stays to the right of a name that overrides the direction of text."""
    client = Client(gallery.url)
    job = client.jobs.get(gallery.jobs["succeeded"][1])
    client.jobs.update(job.id, name="\u202eflowers \u05e9\u05dc\u05d5\u05dd")
    page.goto(gallery.url + urls(gallery)["compare"])
    entry = page.locator(".legend button").filter(has_text="73.59%")
    expect(entry).to_be_visible()
    end_of_name, start_of_value = entry.evaluate(
        """button => [
            button.querySelector(".series").getBoundingClientRect().right,
            button.querySelector("b").getBoundingClientRect().left,
        ]"""
    )
    client.jobs.update(job.id, name=job.name)
    assert 0 < end_of_name <= start_of_value


def test_jobs_page_is_usable_with_the_keyboard(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    row = page.get_by_label("Select flowers resnet20", exact=True)
    row.focus()
    page.keyboard.press("Space")
    expect(page.locator("#selection")).to_contain_text("1 selected")


def test_sorting_and_hidden_columns_persist(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/jobs?state=succeeded")
    page.get_by_role("columnheader", name="Top-1").get_by_role("link").click()
    page.wait_for_url("**/ui/jobs?state=succeeded&sort=-top1")
    shares = page.locator('td[data-column="top1"]').all_inner_texts()
    assert shares == sorted(shares, reverse=True)
    page.get_by_text("Columns", exact=True).click()
    page.locator("#columns").get_by_label("Submitted").uncheck()
    expect(page.get_by_role("columnheader", name="Submitted")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("columnheader", name="Submitted")).to_be_hidden()


def test_columns_that_are_equal_everywhere_are_hidden_until_asked_for(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/jobs")
    header = page.get_by_role("columnheader", name="Method")
    expect(page.get_by_role("columnheader", name="Owner")).to_be_visible()
    expect(header).to_be_hidden()
    # All jobs have the same teacher.
    expect(page.get_by_role("columnheader", name="Student", exact=True)).to_be_visible()
    page.get_by_text("Columns", exact=True).click()
    page.locator("#columns").get_by_label("Method").check()
    expect(header).to_be_visible()
    page.reload()
    expect(header).to_be_visible()


@pytest.mark.parametrize(("width", "lines"), [(1280, 1), (390, 2)])
def test_job_rows_are_one_line_high_and_cards_two(page: Page, gallery: Gallery, width: int, lines: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(gallery.url + "/ui/jobs")
    heights = page.locator("#jobs tbody tr").evaluate_all(
        "rows => rows.map((row) => row.getBoundingClientRect().height)"
    )
    assert len(heights) >= 8
    assert max(heights) < lines * 34 + 14


def test_jobs_are_grouped_with_their_mean_over_seeds(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/jobs?state=succeeded")
    page.locator("summary", has_text="Group").click()
    page.get_by_role("link", name="by student").click()
    page.wait_for_url("**/ui/jobs?*state=succeeded*group=student*")
    card = page.get_by_role("region", name="Student cifar/resnet20", exact=True)
    expect(card).to_contain_text("71.40%")
    page.get_by_text("Group", exact=False).first.click()
    page.get_by_role("link", name="no groups").click()
    expect(page.locator("#jobs tbody tr")).to_have_count(5)


def test_columns_of_all_groups_are_aligned(page: Page, gallery: Gallery) -> None:
    client = Client(gallery.url)
    job = client.jobs.get(gallery.jobs["succeeded"][0])
    client.jobs.update(job.id, name="x" * 200)
    page.goto(gallery.url + "/ui/jobs?group=student")
    headers = page.get_by_role("columnheader", name="Top-1")
    boxes = [box for header in headers.all() if (box := header.bounding_box()) is not None]
    client.jobs.update(job.id, name=job.name)
    assert len(boxes) > 3
    assert len({(box["x"], box["width"]) for box in boxes}) == 1
    assert boxes[0]["x"] + boxes[0]["width"] < 1280


def test_going_back_and_reloading_keep_selection_and_chart_options(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/jobs?state=succeeded")
    for box in page.locator("td.pick input").all()[:2]:
        box.check()
    page.locator("#jobs tbody a").first.click()
    page.wait_for_url("**/ui/jobs/*")
    page.go_back()
    expect(page.locator("#selection")).to_contain_text("2 selected")
    page.goto(gallery.url + urls(gallery)["job"])
    ticks = page.locator('[data-chart="loss"] svg text')
    # 120 steps are 20 epochs.
    expect(ticks.filter(has_text="100")).to_have_count(1)
    page.get_by_label("X axis").select_option("epoch")
    expect(ticks.filter(has_text="100")).to_have_count(0)
    page.reload()
    expect(page.get_by_label("X axis")).to_have_value("epoch")
    expect(page.locator('[data-chart="accuracy"]')).to_contain_text(LAST_ACCURACY["job"])
    expect(ticks.filter(has_text="100")).to_have_count(0)


def test_escape_closes_a_menu(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/jobs")
    summary = page.get_by_text("Columns", exact=True)
    summary.press("Enter")
    page.locator("#columns").get_by_label("Submitted").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#columns")).not_to_have_attribute("open", "")
    expect(summary).to_be_focused()


def test_ended_job_without_output_says_so(page: Page, gallery: Gallery) -> None:
    with session_scope(gallery.engine) as session:
        job_id = create_job(session, name="cancelled early").id
        control.request_cancel(session, job_id)
    page.goto(f"{gallery.url}/ui/jobs/{job_id}")
    expect(page.get_by_text("No metrics.")).to_be_visible()
    page.get_by_role("tab", name="Log").click()
    expect(page.get_by_text("No log.")).to_be_visible()
    page.get_by_role("tab", name="Files").click()
    expect(page.locator("#artifacts")).to_contain_text("No artifacts.")


def test_panels_of_tabs_are_cards_of_the_same_color(page: Page, gallery: Gallery) -> None:
    """A fragment that is the id of a section selects its tab, and does not highlight the section."""
    colors = set()
    for fragment, section in (("files", "#artifacts"), ("timeline", "#timeline"), ("spec", "#spec")):
        page.goto(f"{gallery.url}/ui/jobs/{gallery.jobs['succeeded'][0]}#{fragment}")
        expect(page.locator(section)).to_be_visible()
        colors.add(page.locator(section).evaluate("section => getComputedStyle(section).backgroundColor"))
    assert len(colors) == 1


def test_ages_have_one_unit(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.url}/ui/jobs/{gallery.jobs['running']}")
    ages = {200: "3 min ago", 7500: "2 h ago", 400_000: "4 days ago"}
    page.evaluate(
        """ages => document.body.append(...ages.map((seconds) => {
            const time = document.createElement("time");
            time.dataset.age = "";
            time.dateTime = new Date(Date.now() - seconds * 1000).toISOString();
            time.className = "test";
            return time;
        }))""",
        list(ages),
    )
    expect(page.locator("time.test")).to_have_text(list(ages.values()))


def test_failure_links_to_the_error_in_the_log(page: Page, gallery: Gallery) -> None:
    page.goto(f"{gallery.url}/ui/jobs/{gallery.jobs['failed']}")
    expect(page.locator("#failure")).to_contain_text("The job's input")
    page.get_by_role("link", name="Show the error in the log").click()
    line = page.locator("#log mark")
    expect(line).to_have_text(f"ERROR No images under train/{HOSTILE}")
    expect(line).to_be_in_viewport()
    expect(page.locator("#log pre")).to_be_focused()


def test_jobs_page_with_ten_thousand_jobs_is_small(
    page: Page, gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    create_many(gallery.engine, 10_000)
    # One window, as a user has, but with the cache disabled.
    page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    paints, weights = [], []
    for _ in range(2):
        page.goto(gallery.url + "/ui/jobs")
        wait_until(lambda: page.evaluate("performance.getEntriesByName('first-contentful-paint').length"))
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        weights.append(
            page.evaluate(
                "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
                ".reduce((sum, one) => sum + one.transferSize, 0)"
            )
        )
    with capsys.disabled():
        print(
            f"\njobs page, 10,000 jobs: first paint {min(paints):.0f} to {max(paints):.0f} ms, {weights[0] / 1000:.0f} kB"
        )
    assert weights[0] < 250_000
