"""The page: complete, readable without anything else, and deaf to hostile names."""

import base64
import hashlib
import re
from html.parser import HTMLParser

from tests.ttm_core.report import factories
from ttm_core.report.page import page

HOSTILE = ['<script>alert("x")</script>', "<img src=x onerror=alert(1)>", "'\"&{{ 7*7 }}", "</style><b>", "ничто 😀"]


class Reader(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def test_hostile_names_stay_text():
    seen = Reader(page(factories.report(HOSTILE, name=HOSTILE[0])))
    assert not {"script", "img", "b", "i", "link", "iframe"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "href", "style")]
    for name in HOSTILE:
        assert name in seen.text
    assert "an <i>operator</i> is not known" in seen.text


def test_the_policy_in_the_page_names_its_own_style():
    html = page(factories.report(["a"]))
    style = re.search(r"<style>(.*)</style>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [value for name, value in Reader(html).attributes if name == "content" and "default-src" in value]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'"]
    assert "prefers-color-scheme: dark" in style
    assert "url(" not in style


def test_every_number_stands_beside_the_teachers():
    text = " ".join(Reader(page(factories.report(["cat", "dog"]))).text.split())
    for told in ("top-1 50.00 % 50.00 % +0.00", "agreement with the teacher 75.00 %", "cat 5 60.00 % 20.00 % -40.00"):
        assert told in text
    for told in (
        "latency, batch of 1 1 ms 1 ms 1 ",
        "45.67 % on test",
        "logits within 1.0e-06",
        "images that the teacher ran on for its store 50",
    ):
        assert told in text


def test_a_run_without_teacher_or_test_has_its_page():
    taught = page(factories.report(["a", "b"]))
    alone = page(factories.report(["a", "b"], taught=False, test=None))
    assert "teacher</th>" in taught
    assert "teacher</th>" not in alone
    assert "<h2>Test" not in alone
    assert "None" not in Reader(alone).text


def test_many_classes_are_cut_and_it_is_said():
    html = page(factories.report([f"class-{number}" for number in range(1500)]))
    assert "The first 1000; report.json has them all." in html
    assert "class-999<" in html
    assert "class-1000<" not in html
