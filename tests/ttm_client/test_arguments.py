"""Arguments of types that notebooks use, and empty ones."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from tests.support.checkpoints import checkpoint
from ttm_client import Client, InvalidRequest, WaitTimeout, to_frame
from ttm_jobs.settings import Settings


def test_an_empty_dataset_is_not_the_working_directory(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of an unset variable."""
    monkeypatch.chdir(settings.data_roots[0])
    for empty in ("", {"uri": ""}):
        with pytest.raises(InvalidRequest, match="at least 1 character"):
            client.jobs.create(student="resnet18", dataset=empty, method="ce")
    with pytest.raises(InvalidRequest, match="at least 1 character"):
        client.datasets.create("pets", "")
    with pytest.raises(InvalidRequest, match="at least 1 character"):
        client.jobs.create(student="resnet18", dataset=".", teacher="")
    assert list(client.jobs.list()) == []
    assert client.datasets.create("here", ".").dataset["uri"] == settings.data_roots[0].resolve().as_uri()


def test_filters_without_a_value_are_refused(client: Client, job_id: str) -> None:
    """They selected the jobs whose name contains None."""
    for call in (client.jobs.list, client.jobs.cancel_matching):
        with pytest.raises(TypeError, match="The filter 'owner' cannot be NoneType: omit it"):
            list(call(owner=None))  # type: ignore[arg-type, operator]
        with pytest.raises(TypeError, match="The filter 'dataset' cannot be PosixPath"):
            list(call(dataset=Path("digits")))  # type: ignore[arg-type, operator]
        with pytest.raises(TypeError, match="Expected a list, not NoneType"):
            list(call(states=None))  # type: ignore[arg-type, operator]
    assert [job.id for job in client.jobs.list(created_after=pandas.Timestamp("2020-01-01", tz="UTC"))] == [job_id]


def test_times_are_datetimes_or_strings(client: Client) -> None:
    for time in (datetime(2020, 1, 1, tzinfo=UTC), "2020-01-01T00:00:00Z"):
        assert list(client.audit.list(after=time)) == []
        with pytest.raises(InvalidRequest, match="in the past"):
            client.keys.create("nightly", scope="admin", expires_at=time)
    with pytest.raises(TypeError, match="not date"):
        list(client.audit.list(after=date(2020, 1, 1)))  # type: ignore[arg-type]


def test_a_string_is_one_event_and_one_folder(client: Client, settings: Settings) -> None:
    webhook = client.webhooks.create("https://hooks.example.org/ttm", events="job.failed")
    assert webhook.events == ("job.failed",)
    assert client.webhooks.update(webhook.id, events="job.queued").events == ("job.queued",)
    assert client.webhooks.update(webhook.id, events=()).events == ()
    assert client.webhooks.replay(webhook.id, since="2020-01-01T00:00:00Z") == 0
    folder = settings.data_roots[0]
    for roots in (str(folder), [folder]):
        assert client.projects.restrict("vision", data_roots=roots).data_roots == (str(folder),)


def test_durations_may_be_scalars(client: Client, url: str, job_id: str) -> None:
    for seconds in (np.float32(0.1), torch.tensor(0.1), np.int64(0)):
        with pytest.raises(WaitTimeout):
            client.jobs.wait(job_id, timeout=seconds, interval=np.float32(0.05))
    with Client(url, timeout=np.float32(20)) as other:
        assert other.jobs.get(job_id).id == job_id
    for seconds in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="must be positive"):
            Client(url, timeout=seconds)


def test_scalars_and_paths_in_specs_are_converted(client: Client, settings: Settings, tmp_path: Path) -> None:
    folder = settings.data_roots[0]
    more = folder / "more"
    more.mkdir()
    weights = tmp_path / "student.pt"
    weights.write_bytes(checkpoint("mini/resnet8_025", 10))
    optimizer = {"name": "sgd", "learning_rate": np.array(0.25), "momentum": np.float32(0.5)}
    job = client.jobs.create(
        student=weights,
        dataset={"uri": folder},
        method="ce",
        training={"epochs": np.int64(3), "seed": torch.tensor(7), "optimizer": optimizer},
        priority=np.uint8(9),
    )
    assert job.spec["student"]["checkpoint"] == next(client.uploads.list()).uri
    entry = client.datasets.create("digits", {"uri": folder, "unlabelled": (more,)})
    assert entry.dataset["unlabelled"] == [more.as_uri()]
    training = job.spec["training"]
    assert (training["epochs"], training["seed"], job.priority) == (3, 7, 9)
    assert training["optimizer"] | {"learning_rate": 0.25, "momentum": 0.5} == training["optimizer"]
    with pytest.raises(InvalidRequest) as refused:
        client.jobs.create(student="resnet18", dataset=folder, method="ce", deadline=np.float32("nan"))  # type: ignore[arg-type]
    assert [error.pointer for error in refused.value.errors] == ["/deadline"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([3]), r"JSON has no numpy\.ndarray\. Convert it with \.tolist"),
        (torch.tensor([3]), r"JSON has no torch\.Tensor\. Convert it with \.tolist"),
        (datetime(2020, 1, 1, tzinfo=UTC), r"JSON has no datetime\.datetime\. Convert it with \.isoformat"),
        (np.datetime64("2020-01-01T00:00:00.000000001"), r"JSON has no numpy\.datetime64"),
        (np.complex64(1), r"JSON has no numpy\.complex64"),
        (np.longdouble(1), r"JSON has no numpy\.longdouble"),
        (Decimal(1), r"JSON has no decimal\.Decimal"),
        ({1}, "JSON has no set"),
        (b"3", "JSON has no bytes"),
        ({(1, 2): 3}, "the keys of a JSON object are strings, not tuple"),
    ],
)
def test_other_types_in_specs_are_named(client: Client, value: object, message: str) -> None:
    with pytest.raises(TypeError, match=f"^/training/a~1b/0: {message}"):
        client.jobs.create(student="resnet18", dataset="file:///data", training={"a/b": [value]})


def test_durations_of_other_types_and_ranges_are_named(client: Client, job_id: str) -> None:
    for wrong in (None, "soon", timedelta(seconds=1)):
        with pytest.raises(TypeError, match="The timeout must be a number of seconds, not "):
            Client(timeout=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="The interval must be a number of seconds, not "):
            client.jobs.wait(job_id, interval=wrong)  # type: ignore[arg-type]
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="The timeout must be at least 0 s, not "):
            client.jobs.wait(job_id, timeout=wrong)
        with pytest.raises(ValueError, match="The interval must be positive, not "):
            client.jobs.wait(job_id, interval=wrong)
        with pytest.raises(ValueError, match="The interval must be positive, not "):
            list(client.jobs.follow_log(job_id, interval=wrong))
        with pytest.raises(ValueError, match="The reconnect_timeout must be at least 0 s, not "):
            list(client.jobs.events(job_id, reconnect_timeout=wrong))
    with pytest.raises(WaitTimeout):
        client.jobs.wait(job_id, timeout=0.1, interval=float("inf"))
    with Client(client.base_url, timeout=1e308) as other:
        assert other.jobs.get(job_id).id == job_id


def test_a_url_and_a_key_are_strings() -> None:
    with pytest.raises(TypeError, match="URL of the service must be a string, not PosixPath"):
        Client(Path("x"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="API key must be a string, not int"):
        Client(api_key=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("last", ["\n", "é", "5\r\nX-A: b"])
def test_an_event_id_that_cannot_be_sent(client: Client, job_id: str, last: str) -> None:
    """It was sent again and again for five minutes."""
    with pytest.raises(InvalidRequest, match="is not the id of an event"):
        list(client.jobs.events(job_id, last_event_id=last))


def test_an_event_id_may_be_a_number(client: Client, job_id: str) -> None:
    client.jobs.cancel(job_id)
    events = list(client.jobs.events(job_id))
    assert list(client.jobs.events(job_id, last_event_id=int(events[0].id))) == events[1:]
    with pytest.raises(TypeError, match=r"an integer, not 1\.5"):
        list(client.jobs.events(job_id, last_event_id=1.5))  # type: ignore[arg-type]


def test_names_and_tags_that_are_no_strings_are_refused(client: Client, job_id: str) -> None:
    for call in (
        lambda: list(client.jobs.list(tags=[None])),  # type: ignore[list-item]
        lambda: client.jobs.metrics(job_id, names=[5]),  # type: ignore[list-item]
        lambda: client.jobs.tag_many([job_id], add=[5]),  # type: ignore[list-item]
        lambda: list(client.studies.list(states=[None])),  # type: ignore[list-item]
        lambda: list(client.events.stream(types=[5])),  # type: ignore[list-item]
    ):
        with pytest.raises(TypeError, match=r"must be strings, not (NoneType|int)"):
            call()
    with pytest.raises(TypeError, match="Expected a list, not int"):
        client.devices.request("pi5", job_id, batches=5)  # type: ignore[arg-type]
    for limits in (None, 5):
        with pytest.raises(InvalidRequest, match="/limits"):
            client.studies.create(teacher="job:" + job_id, dataset="file:///data", limits=limits)  # type: ignore[arg-type]


def test_a_name_that_is_too_long_for_a_url(client: Client) -> None:
    with pytest.raises(InvalidRequest, match=r"The name in /jobs/xxx.* cannot be sent: URL too long"):
        client.jobs.get("x" * 70_000)


def test_an_error_of_the_whole_request_is_written_once(client: Client, job_id: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.jobs.tag_many([job_id])
    assert str(refused.value) == "`add` or `remove` must name a tag."


def test_certificates_that_cannot_be_read_are_named(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(ValueError, match=r"SSL_CERT_FILE=.*missing\.pem.* cannot be read"):
        Client(url)


def test_a_frame_of_one_response(client: Client, job_id: str) -> None:
    job = client.jobs.get(job_id)
    assert to_frame(job).equals(to_frame([job]))
    with pytest.raises(TypeError, match="not str"):
        to_frame(["job"])  # type: ignore[list-item]
