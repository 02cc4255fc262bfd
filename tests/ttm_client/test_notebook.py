"""What a notebook shows of responses: HTML with all text escaped, and data frames."""

from datetime import UTC, datetime

import pandas
import pytest

from ttm_client import ComparedGroup, Comparison, Upload, to_frame
from ttm_client.models.studies import Difference

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def upload() -> Upload:
    return Upload(
        id="1", uri="upload:1", filename=HOSTILE, size=7, state="complete", sha256=None, created_at=datetime.now(UTC)
    )


def test_fields_with_a_value_are_a_table_with_escaped_text(upload: Upload) -> None:
    html = upload._repr_html_()
    assert HOSTILE not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<th>filename</th>" in html
    assert "sha256" not in html


def test_comparison_is_a_sentence_and_a_row_for_each_group() -> None:
    difference = Difference(mean=-0.012, low=-0.03, high=0.006, method="paired_t", count=3, shown=False)
    groups = [
        ComparedGroup(label=HOSTILE, jobs=("1", "2"), count=2, mean=0.9, deviation=0.01, difference=None),
        ComparedGroup(label="b", jobs=("3",), count=1, mean=0.888, deviation=None, difference=difference),
    ]
    comparison = Comparison(
        split="test",
        jobs=(),
        groups=tuple(groups),
        baseline=0,
        verdict="a < b",
        problem=None,
        differences=(),
        metrics=(),
    )
    html = comparison._repr_html_()
    assert HOSTILE not in html
    assert "a &lt; b" in html
    assert "90.00%" in html
    assert "no difference shown [-3.00, +0.60]" in html


def test_items_are_rows_by_id(upload: Upload) -> None:
    frame = to_frame([upload, upload.model_copy(update={"id": "2", "size": 9})])
    assert list(frame.index) == ["1", "2"]
    assert frame.loc["2", "size"] == 9
    assert isinstance(to_frame([]), pandas.DataFrame)
