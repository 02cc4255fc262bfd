"""The damage report and "Try an image" in a real browser, for a job of the real trainer."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import clear_expected
from tests.browser.test_pages import CHECKS, accessibility_violations
from tests.support.damaged import HOSTILE_CLASS, Damaged

DROP = """async ([name, url]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([await (await fetch(url)).blob()], name, { type: "image/png" }));
  document.getElementById("predict").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_report_is_accessible_and_fits_the_viewport(page: Page, damaged: Damaged, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for address in (f"/ui/jobs/{damaged.student}/damage", f"/ui/jobs/{damaged.student}#try"):
        page.goto(damaged.url + address)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate(CHECKS) == [], address
        assert accessibility_violations(page, address) == [], address


def test_gallery_is_filtered_by_outcome_and_class_in_the_address(page: Page, damaged: Damaged) -> None:
    page.goto(f"{damaged.url}/ui/jobs/{damaged.student}")
    page.get_by_role("link", name="Damage report").click()
    expect(page.get_by_role("link", name="Jobs", exact=True)).to_have_attribute("aria-current", "true")
    gallery = page.locator("#images .gallery li")
    expect(gallery.locator("img").first).to_have_js_property("complete", True)
    assert gallery.locator("img").first.evaluate("image => image.naturalWidth") == 24
    page.get_by_role("link", name=re.compile("teacher right, student wrong")).click()
    expect(page).to_have_url(re.compile("outcome=lost"))
    page.get_by_role("combobox", name=re.compile("^Class")).select_option(HOSTILE_CLASS)
    expect(page).to_have_url(re.compile("class=.*onerror"))
    expect(page).to_have_url(re.compile("outcome=lost"))
    labels = gallery.locator("figcaption > b")
    expect(labels.first).to_be_visible()
    assert set(labels.all_text_contents()) == {HOSTILE_CLASS}
    page.get_by_role("link", name="digit-1").first.click()
    expect(page).to_have_url(re.compile("class=digit-1"))
    # Each press of an arrow key changes a closed list: the page stays until the button is pressed.
    order = page.get_by_label("Student's confidence")
    order.press("ArrowDown")
    order.press("ArrowDown")
    expect(order).to_have_value("confidence")
    assert "sort=" not in page.url
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("sort=confidence"))


def test_report_against_another_job_and_its_problems(page: Page, damaged: Damaged, console_errors: list[str]) -> None:
    page.goto(f"{damaged.url}/ui/jobs/{damaged.student}/damage")
    options = page.locator("#other-jobs option")
    expect(options).to_have_count(0)
    page.get_by_label("Compare with job").focus()
    expect(options).not_to_have_count(0)
    proposed = options.evaluate_all("options => options.map(option => option.value)")
    assert damaged.teacher in proposed
    assert damaged.student not in proposed
    page.get_by_label("Compare with job").fill(damaged.teacher)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("The reference is the student of")).to_be_visible()
    assert not console_errors
    page.get_by_label("Compare with job").fill(damaged.elsewhere)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("alert")).to_contain_text("different images")
    clear_expected(page, console_errors)


def test_dropped_and_chosen_images_and_gallery_images_are_classified(
    page: Page, damaged: Damaged, tmp_path: Path, console_errors: list[str]
) -> None:
    page.goto(f"{damaged.url}/ui/jobs/{damaged.student}/damage")
    answers = page.locator("#predict [data-answers]")
    page.evaluate(DROP, ["digit.png", f"/jobs/{damaged.student}/damage/images/0"])
    expect(answers.locator("caption")).to_contain_text(["Student", "Student, float16", "Student, int8", "Teacher"])
    expect(answers.locator("tbody tr")).to_have_count(20)
    expect(page.locator("#predict canvas")).to_be_visible()
    dropped = answers.text_content()

    with page.expect_response(f"**/jobs/{damaged.student}/predict*"):
        page.get_by_role("button", name=re.compile("^Predict image")).first.click()
    expect(answers.locator("tbody tr")).to_have_count(20)
    # The first image of the gallery is the dropped one; only the latency differs.
    assert answers.locator("th").all_text_contents()[0] in (dropped or "")

    image = next((damaged.data / "digits/val/digit-1").iterdir())
    page.goto(f"{damaged.url}/ui/jobs/{damaged.student}#try")
    page.locator("#predict input").set_input_files(image)
    expect(answers.locator("tbody tr")).to_have_count(20)
    assert not console_errors

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"<script>alert(1)</script>")
    page.locator("#predict input").set_input_files(broken)
    expect(page.locator("#predict [data-status]")).to_contain_text("The image was not classified")
    clear_expected(page, console_errors)
