"""Parts of the pages: form fields, timeline, comparison, list links, number formats and next steps after a failure."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from starlette.datastructures import URL

from api.architectures.compression import compression
from api.dashboard.formats import compression_text, size
from api.dashboard.jobs import form
from api.dashboard.jobs.detail import spans
from api.dashboard.jobs.table import Query
from api.jobs.failures import next_step
from api.jobs.schemas import HistoryEntry, JobOut, JobRequest
from tests.support.runs import claim, fail, train
from ttm_client.cli import output
from ttm_jobs.settings import Settings


def submit(client: TestClient, settings: Settings, **fields: object) -> str:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce", **fields}
    return str(client.post("/jobs", json=body).json()["id"])


def test_form_has_the_fields_of_every_method() -> None:
    methods = {method.kind: method for method in form.methods()}
    assert next(iter(methods)) == "wttm", "the default method comes first"
    assert {"wttm", "ttm", "kd", "ce", "dkd", "dist", "nkd", "wkd"} <= set(methods)
    assert methods["ce"].fields == ()
    fields = {field.pointer: field for field in methods["wttm"].fields}
    assert (fields["/method/beta"].kind, fields["/method/beta"].default) == ("number", 2.0)
    assert fields["/method/logit_standardization"].kind == "boolean"
    assert [fields[f"/method/{name}"].title for name in ("ce_weight", "gamma")] == ["CE weight", "Gamma"]


def test_form_offers_every_value_of_a_field_with_few_values() -> None:
    fields = {field.pointer: field for field in form.training()}
    shown = {name: fields[f"/training/{name}"] for name in ("compile", "tf32", "memory_format", "stored_as", "views")}
    assert {name: (field.kind, field.choices) for name, field in shown.items()} == {
        "compile": ("boolean", ("auto", "true", "false")),
        "tf32": ("boolean", ("true", "false")),
        "memory_format": ("choice", ("auto", "channels_last", "contiguous")),
        "stored_as": ("choice", ("float16", "int8")),
        "views": ("integer", ()),
    }


def test_form_defaults_equal_the_spec_defaults() -> None:
    """Entering the displayed defaults gives the same job as leaving the fields empty."""
    entered = {
        field.pointer.rpartition("/")[2]: field.default for field in form.training() if field.default is not None
    }
    least = {"student": "resnet18", "dataset": "file:///data", "method": "ce"}
    assert JobRequest.model_validate({**least, "training": entered}) == JobRequest.model_validate(least)


def test_list_links_keep_other_parameters() -> None:
    parameters = [("state", "failed"), ("sort", "-top1"), ("cursor", "abc"), ("name", "")]
    query = Query(URL("http://host/?x"), parameters)
    assert query.having("sort", None) == "/?state=failed"
    assert query.toggled("state", "queued") == "/?state=failed&sort=-top1&state=queued"
    assert query.toggled("state", "failed") == "/?sort=-top1"
    assert query.having("tag", "a&b=c") == "/?state=failed&sort=-top1&tag=a%26b%3Dc"


def test_compression_needs_both_architectures() -> None:
    assert compression("cifar/resnet56", "cifar/resnet20") == pytest.approx(3.1, abs=0.1)
    assert compression("upload:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10", "cifar/resnet20") is None
    both = compression("cifar/resnet56 + cifar/resnet56", "cifar/resnet56")
    assert both == 2


def test_compression_ratio_is_shown_only_above_one() -> None:
    written = [compression_text(ratio) for ratio in (3.0956, 1.0001, 0.5, None)]
    assert written == ["3.1\N{MULTIPLICATION SIGN} smaller", "same size", "larger", "\N{EN DASH}"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (150_000, "150 kB"),
        (1_536_000, "1.54 MB"),
        (80e9, "80 GB"),
        (2e12, "2 TB"),
    ],
)
def test_sizes_have_the_decimal_units_of_limits(count: float, text: str) -> None:
    """A limit of `--max-mb 0.15` is shown as 150 kB, on the dashboard and in the terminal."""
    assert size(count) == output.size(count) == text


def test_timeline_has_no_gaps(client: TestClient, engine: Engine, settings: Settings) -> None:
    job_id = submit(client, settings)
    lease = claim(engine, job_id)
    train(engine, lease, range(1, 3))
    fail(engine, lease)
    job = JobOut.model_validate(client.get(f"/jobs/{job_id}").json())
    start = datetime(2026, 1, 1, tzinfo=UTC)
    job = job.model_copy(
        update={
            "history": [
                HistoryEntry(at=start + timedelta(seconds=at), kind=kind, value=value)
                for at, kind, value in (
                    (0, "state", "queued"),
                    (10, "state", "running"),
                    (20, "phase", "training"),
                    (100, "state", "failed"),
                )
            ],
            "finished_at": start + timedelta(seconds=100),
        }
    )
    assert [(span.name, span.seconds, span.left, span.width) for span in spans(job)] == [
        ("queued", 10, 0, 100),
        ("running", 10, 100, 100),
        ("training", 80, 200, 800),
    ]


def test_comparison_needs_two_existing_jobs(client: TestClient, settings: Settings) -> None:
    one, other = (submit(client, settings, training={"epochs": epochs}) for epochs in (3, 4))
    page = client.get(f"/ui/compare?job={one}&job={other}")
    assert page.status_code == 200
    assert "<code>training.<wbr>epochs</code>" in page.text
    assert page.text.count('<th scope="row">') == 1
    for address in (f"/ui/compare?job={one}", f"/ui/compare?job={one}&job={one}", f"/ui/compare?job={one}&job=x"):
        assert client.get(address).status_code == 404


def test_comparison_page_states_the_split_and_why_there_is_no_front(client: TestClient, settings: Settings) -> None:
    one, other = submit(client, settings), submit(client, settings)
    page = client.get(f"/ui/compare?job={one}&job={other}").text
    assert "Top-1 (validation)" in page
    assert 'data-ranked="yes"' in page


def test_jobs_page_filters_by_name_and_tag(client: TestClient, settings: Settings) -> None:
    one = submit(client, settings, name="a", tags=["night"])
    other = submit(client, settings, name="b")
    for address in ("/ui/jobs?name=a", "/ui/jobs?tag=night", "/ui/jobs?name=a&tag=night&teacher=&dataset="):
        html = client.get(address).text
        assert one in html
        assert other not in html


@pytest.mark.parametrize(
    ("code", "origin", "retryable", "text"),
    [
        ("out_of_memory", "system", True, "gradient_accumulation"),
        ("new_code", "user", False, "Correct the spec"),
        ("new_code", "system", True, "Retry"),
        ("new_code", "system", False, "log"),
    ],
)
def test_every_failure_has_a_next_step(code: str, origin: str, retryable: bool, text: str) -> None:
    assert text in next_step(code, origin, retryable=retryable)
