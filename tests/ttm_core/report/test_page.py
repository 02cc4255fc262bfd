"""The HTML report: complete, self-contained, and safe with hostile names."""

import base64
import hashlib
import re
from html.parser import HTMLParser

from tests.ttm_core.report import factories
from ttm_core.report.page import compression, page

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


def test_hostile_names_are_escaped():
    reader = Reader(page(factories.report(HOSTILE, name=HOSTILE[0])))
    assert not {"script", "img", "b", "i", "link", "iframe"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name in ("src", "href", "style")]
    for name in HOSTILE:
        assert name in reader.text
    assert "an <i>operator</i> is not known" in reader.text


def test_content_security_policy_allows_only_its_own_style():
    html = page(factories.report(["a"]))
    style = re.search(r"<style>(.*)</style>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [value for name, value in Reader(html).attributes if name == "content" and "default-src" in value]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'"]
    assert "prefers-color-scheme: dark" in style
    assert "url(" not in style


def test_student_and_teacher_numbers_are_listed():
    text = " ".join(Reader(page(factories.report(["cat", "dog"]))).text.split())
    for expected in (
        "change against the teacher top-1 50.00 % 50.00 % +0.00 points",
        "retention (student's top-1 in % of the teacher's) 94.0 %",
        "agreement with the teacher 75.00 %",
        "cat 5 60.00 % 20.00 % -40.00 points",
    ):
        assert expected in text
    for expected in (
        "latency of one image (float32 ONNX) 4 ms 1 ms 4× faster",
        "int8 is 2.00× faster than float32 (0.5 ms instead of 1 ms) and 4.0× smaller; top-1 -0.33 points.",
        "student-int8.onnx int8 1 1 0.5 ms ± 1.0 % 0.55 ms 2,000 2 MB",
        "layer1 0.75 ms 75.0 % fc 0.25 ms 25.0 %",
        "45.67 % on test",
        "logits differ from PyTorch's by at most 1.0e-06",
        "teacher forward passes (images) 50",
    ):
        assert expected in text


def test_run_without_teacher_and_test_split():
    distilled = page(factories.report(["a", "b"]))
    alone = page(factories.report(["a", "b"], with_teacher=False, test=None))
    assert "teacher</th>" in distilled
    assert "teacher</th>" not in alone
    assert "<h2>Test" not in alone
    assert "None" not in Reader(alone).text


def test_run_without_measurements():
    text = Reader(page(factories.report(["a"], measurements=[], teacher_measurements=[], recommendations=[]))).text
    assert "latency" not in text
    assert "Which file to ship" not in text


def test_long_class_lists_are_truncated():
    html = page(factories.report([f"class-{number}" for number in range(1500)]))
    assert "The first 1000; report.json lists all." in html
    assert "class-999<" in html
    assert "class-1000<" not in html


def test_compression_ratio_is_shown_only_above_one():
    assert compression(3.14159) == "3.14× smaller"
    assert compression(0.38) == "larger"
    assert compression(1.0) == "same"
    assert compression(None) == "-"
    larger = factories.report(["a"], student=factories.model(parameters=4000))
    text = " ".join(Reader(page(larger)).text.split())
    assert "parameters 1,000 4,000 larger" in text
