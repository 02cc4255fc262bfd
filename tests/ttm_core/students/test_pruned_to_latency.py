"""Students cut out of their teacher to a latency: the search, and the measurement that is made once per run."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.ttm_core import factories
from ttm_core.errors import BadSpec
from ttm_core.export import load_student
from ttm_core.models.macs import macs
from ttm_core.models.pruning.latency import Timed, largest_within
from ttm_core.pipeline.distill import distill
from ttm_core.pipeline.student import latency
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.student.pruning import PruneSpec
from ttm_core.training.trainer import Interrupted

SIZE = 48  # of images in pixels: with larger ones, the latency is mostly that of convolutions


def spec(data: Path, teacher: Path, **prune: Any) -> DistillSpec:
    student = {"prune": {"round_to": 2, **prune}, "image_size": SIZE}
    return factories.spec(data, teacher, student=student, training={"epochs": 1})


def resolved(emitted: list[events.Event]) -> events.Resolved:
    (found,) = [event for event in emitted if isinstance(event, events.Resolved)]
    return found


def measured(emitted: list[events.Event]) -> int:
    return sum(isinstance(event, events.Log) and "of the teacher's MACs take" in event.message for event in emitted)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factories.digits_idx(tmp_path_factory.mktemp("digits"), train=64, test=32)


@pytest.fixture(scope="module", autouse=True)
def quick_measurements() -> Iterator[None]:
    """Tests compare no latencies, so that they need not be precise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "_SECONDS", 0.2)
        yield


@pytest.fixture(scope="module")
def target(digits: Path, teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """The mean of the latencies of teacher and smallest student here, from the run of an unattainable target."""
    emitted: list[events.Event] = []
    smallest = r"latency_ms: the smallest mini/resnet8_050 in multiples of 2 channels takes [0-9.e-]+ ms"
    with pytest.raises(BadSpec, match=smallest):
        distill(spec(digits, teacher_file, latency_ms=1e-6), tmp_path_factory.mktemp("run"), on_event=emitted.append)
    logs = " ".join(event.message for event in emitted if isinstance(event, events.Log))
    teacher_ms, smallest_ms = map(float, re.findall(r"of the teacher's MACs take ([0-9.e-]+) ms", logs))
    return float(f"{math.sqrt(teacher_ms * smallest_ms):.3g}")


def test_latency_is_measured_once_and_then_replayed(
    digits: Path, teacher_file: Path, target: float, tmp_path: Path
) -> None:
    first: list[events.Event] = []
    given = spec(digits, teacher_file, latency_ms=target)
    distill(given, tmp_path / "first", on_event=first.append)
    found = resolved(first)
    prune = found.spec.student.prune
    assert prune is not None
    assert prune.macs is not None
    assert prune.latency_ms == target
    assert 3 <= measured(first) <= 8
    reason = found.reasons["student.prune.macs"]
    assert f"at most {target:g} ms" in reason
    student = load_student(tmp_path / "first/out/student.safetensors").structure
    assert student == found.student_structure
    assert macs(student, SIZE) <= prune.macs * macs(student.model_copy(update={"pruning": []}), SIZE)

    # A later attempt elsewhere has the resolved spec, one here has the decision.
    for name, again in (("elsewhere", found.spec), ("first", given)):
        emitted: list[events.Event] = []
        before = (tmp_path / "first/out/student.safetensors").read_bytes()
        distill(again, tmp_path / name, on_event=emitted.append)
        assert (tmp_path / name / "out/student.safetensors").read_bytes() == before
        assert measured(emitted) == 0


def test_target_that_the_teacher_meets_is_refused(digits: Path, teacher_file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match=r"student\.prune\.latency_ms: there is nothing to prune"):
        distill(spec(digits, teacher_file, latency_ms=1000), tmp_path)


def test_stop_request_ends_the_measurement(digits: Path, teacher_file: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        distill(spec(digits, teacher_file, latency_ms=1e-6), tmp_path, should_stop=lambda: True)


@pytest.mark.parametrize("fixed_ms", [0.0, 2.0, 4.0])
@pytest.mark.parametrize("target", [5.0, 7.0, 9.9])
@pytest.mark.parametrize("step", [0.0, 0.1])
def test_search_ends_close_below_the_target(fixed_ms: float, target: float, step: float) -> None:
    """For latencies of a fixed and a proportional part, also where only every tenth fraction can be made."""
    calls: list[float] = []

    def ms(fraction: float) -> float:
        calls.append(fraction)
        made = round(fraction // step * step, 6) if step else fraction
        return fixed_ms + (10.0 - fixed_ms) * made

    smallest = Timed(0.11, ms(0.11))
    found = largest_within(target, smallest, Timed(1.0, 10.0), ms)
    assert found.ms <= target
    assert found.ms == smallest.ms or found.fraction in calls
    assert found.ms >= (target - (10.0 - fixed_ms) * step) * 0.94
    assert len(calls) <= 9


def test_search_keeps_what_fits_if_latency_is_not_monotone() -> None:
    times = iter([12.0, 11.0, 3.0, 12.0, 11.0, 11.0, 11.0, 11.0])
    found = largest_within(5.0, Timed(0.1, 2.0), Timed(1.0, 10.0), lambda fraction: next(times))
    assert found.ms == 3.0


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ({"latency_ms": 0}, "greater than 0"),
        ({"latency_ms": -1}, "greater than 0"),
        ({"latency_ms": float("nan")}, "finite number"),
        ({"latency_ms": float("inf")}, "finite number"),
        ({"latency_ms": "5"}, "valid number"),
        ({"latency_ms": 5, "parameters": 0.5}, "`parameters` or `latency_ms`, not both"),
        ({"latency_ms": 5, "device": "pi5"}, "create a study with limits.latency_ms, limits.device"),
        ({"latency_ms": 5, "steps": 2}, "remove `steps`, or set `macs`"),
    ],
)
def test_contradictory_targets_are_refused(prune: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PruneSpec.model_validate(prune)
