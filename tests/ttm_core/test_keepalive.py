"""Keepalives are reported while the process is busy, and not while it hangs."""

import threading
import time
from contextlib import contextmanager

from tests.ttm_core import factories
from ttm_core import __main__ as main
from ttm_core.pipeline import context
from ttm_core.pipeline.context import keepalive
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events


def test_busy_process_reports_until_the_block_ends():
    reported: list[float] = []
    called, before = threading.Event(), threading.active_count()

    def report(seconds: float) -> None:
        reported.append(seconds)
        called.set()

    with keepalive(report, interval=0.05):
        deadline = time.monotonic() + 600
        while not called.is_set():
            assert time.monotonic() < deadline, "no keepalive"
    assert reported[0] >= 0.05
    assert threading.active_count() == before


def test_waiting_process_reports_nothing():
    reported: list[float] = []
    with keepalive(reported.append, interval=0.1):
        threading.Event().wait(0.5)
    assert reported == []


def test_every_long_stage_of_a_run_has_keepalives(digits_idx, teacher_file, tmp_path, monkeypatch):
    reports = []

    @contextmanager
    def record(report, **options):
        report(1.0)
        reports.append(report)
        yield

    monkeypatch.setattr(context, "keepalive", record)
    emitted: list[events.Event] = []
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 1, "teacher_logits": "stored"})
    distill(spec, tmp_path, on_event=emitted.append)
    messages = [event.message for event in emitted if isinstance(event, events.Log)]
    for stage in (
        "reading the dataset",
        "decoding images",
        "loading the teacher",
        "building the models",
        "validating the teacher",
        "opening the teacher store",
        "estimating the run",
        "validating",
        "evaluating",
        "exporting",
    ):
        assert f"still {stage} after 1 s" in messages


def test_waiting_for_a_teacher_store_emits_log_events(tmp_path, monkeypatch):
    monkeypatch.setattr(main, "_EMIT_SECONDS", 0.1)
    emitted: list[events.Event] = []

    def emit(event: events.Event) -> None:
        emitted.append(event)
        if len(emitted) == 3:
            (tmp_path / digest).touch()

    digest = "0" * 64
    main._request_store(emit, tmp_path, digest)
    assert [event.kind for event in emitted] == ["store_requested", "log", "log"]
