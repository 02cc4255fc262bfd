"""The command palette: pages, jobs and others by a part of their name or their id, with the keyboard alone."""

from playwright.sync_api import Page, expect

from tests.browser.gallery import HOSTILE, Gallery


def test_page_is_found_and_opened_with_the_keyboard(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/jobs")
    page.keyboard.press("Control+k")
    box = page.get_by_role("combobox", name="Page, name or id")
    expect(box).to_be_focused()
    page.keyboard.type("teach")
    expect(page.get_by_role("option", selected=True)).to_contain_text("Teachers")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", selected=True)).to_contain_text("Teacher stores")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/teachers")


def test_job_is_found_by_a_part_of_its_name(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/workers")
    page.get_by_role("button", name="Go to…").click()
    page.get_by_role("combobox", name="Page, name or id").fill("resnet32")
    found = page.get_by_role("option", name="flowers resnet32")
    expect(found).to_contain_text("succeeded")
    found.get_by_role("link", include_hidden=True).click()
    page.wait_for_url(f"**/ui/jobs/{gallery.jobs['succeeded'][2]}")


def test_worker_and_architecture_are_found_by_their_names(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/workers")
    page.keyboard.press("Control+k")
    box = page.get_by_role("combobox", name="Page, name or id")
    box.fill("gpu-7")
    expect(page.get_by_role("option", name="gpu-7")).to_contain_text("worker")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/workers#worker-worker-1")
    expect(box).to_be_hidden()
    page.keyboard.press("Control+k")
    box.fill("mobilenetv3_small_100")
    page.get_by_role("option", name="mobilenetv3_small_100").filter(has_text="architecture").first.click()
    page.wait_for_url("**/ui/architectures?q=mobilenetv3_small_100*")


def test_job_is_found_by_the_start_of_its_id(page: Page, gallery: Gallery) -> None:
    job_id = gallery.jobs["running"]
    page.goto(gallery.url + "/ui/jobs")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Page, name or id").fill(job_id)
    expect(page.get_by_role("option", selected=True)).to_contain_text("flowers resnet20, gamma 0.5")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/jobs/{job_id}")


def test_hostile_names_stay_text_and_escape_closes(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/jobs")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Page, name or id").fill("onerror")
    expect(page.get_by_role("option").filter(has_text=HOSTILE)).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    page.keyboard.press("Escape")
    expect(page.get_by_role("combobox", name="Page, name or id")).to_be_hidden()
