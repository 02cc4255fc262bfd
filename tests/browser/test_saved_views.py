"""Saved views on the pages: saved under a name, opened from the menu and from the command palette, deleted."""

from playwright.sync_api import Page, expect

from tests.browser.gallery import HOSTILE, Gallery
from tests.browser.test_pages import CHECKS


def test_view_is_saved_opened_and_deleted(page: Page, gallery: Gallery) -> None:
    name = HOSTILE.strip("/")[:60]
    page.goto(gallery.url + "/ui/jobs?state=succeeded&sort=-top1")
    menu = page.locator("#views")
    menu.locator("summary").click()
    menu.get_by_label("Name").fill(name)
    menu.get_by_role("button", name="Save this view").click()
    expect(menu.get_by_role("link", name=name)).to_be_visible()
    page.goto(gallery.url + "/ui/jobs")
    menu.locator("summary").click()
    menu.get_by_role("link", name=name).click()
    page.wait_for_url("**/ui/jobs?state=succeeded&sort=-top1")
    page.goto(gallery.url + "/ui/workers")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Page, name or id").fill("view of jobs")
    found = page.get_by_role("option", name=name)
    expect(found).to_contain_text("view of jobs")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/jobs?state=succeeded&sort=-top1")
    menu.locator("summary").click()
    menu.get_by_role("button", name=f"Delete the view {name}").click()
    expect(menu).to_contain_text("No saved views.")


def test_long_names_of_views_fit_the_viewport(page: Page, gallery: Gallery) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(gallery.url + "/ui/jobs?state=succeeded")
    menu = page.locator("#views")
    menu.locator("summary").click()
    menu.get_by_label("Name").fill("v" * 60)
    menu.get_by_role("button", name="Save this view").click()
    expect(menu.get_by_role("link", name="v" * 60)).to_be_visible()
    assert page.evaluate(CHECKS) == []
    # Its name in the audit log takes no space from the other columns.
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(gallery.url + "/ui/audit?action=views_save")
    row = page.locator("tbody tr").filter(has_text="v" * 60)
    for column in ("Action", "Address"):
        lines = row.locator(f'[data-label="{column}"] > div').evaluate("cell => cell.getClientRects()[0].height / 22.5")
        assert lines < 1.5, column
    page.goto(gallery.url + "/ui/jobs")
    menu.locator("summary").click()
    menu.get_by_role("button", name=f"Delete the view {'v' * 60}").click()
    expect(menu).to_contain_text("No saved views.")


def test_studies_have_views_of_their_own(page: Page, gallery: Gallery) -> None:
    page.goto(gallery.url + "/ui/studies?state=failed")
    menu = page.locator("#views")
    menu.locator("summary").click()
    menu.get_by_label("Name").fill("failed ones")
    menu.get_by_role("button", name="Save this view").click()
    expect(menu.get_by_role("link", name="failed ones")).to_have_attribute("href", "/ui/studies?state=failed")
    page.goto(gallery.url + "/ui/jobs")
    expect(page.locator("#views a")).to_have_count(0)
