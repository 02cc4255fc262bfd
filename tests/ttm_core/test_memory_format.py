"""The memory format of student and teacher: what is chosen, that later attempts and equal runs keep it, and its logits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.ttm_core import factories
from ttm_core.hardware.memory_format import choose_memory_format, in_memory_format
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import load_teacher
from ttm_core.pipeline.decisions import memory_format as decision
from ttm_core.pipeline.distill import distill
from ttm_core.pipeline.inputs import Inputs
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec, TeacherSpec
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.training.training import TrainingSpec
from ttm_core.teacher_store.store import Stores, list_stores
from ttm_core.training.trainer import Interrupted

CPU = torch.device("cpu")
PREPROCESS = Preprocess(3, 16, Normalization(mean=[0.5] * 3, std=[0.5] * 3))
LONG = 100  # epochs, enough to be worth a measurement


class SlowIn(nn.Module):
    """Two convolutions that take much longer in one format."""

    def __init__(self, slow: torch.memory_format | None) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
        self.slow = slow

    def forward(self, x: Tensor) -> Tensor:
        if self.slow is not None and x.is_contiguous(memory_format=self.slow):
            torch.randn(400, 400) @ torch.randn(400, 400)
        return self.layers(x).mean((2, 3))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("slow", "expected"), [(torch.channels_last, "contiguous"), (torch.contiguous_format, "channels_last")]
)
def test_the_faster_format_is_chosen(slow: torch.memory_format, expected: str, train: bool) -> None:
    model = SlowIn(slow)
    before = torch.get_rng_state()
    assert choose_memory_format([(model, PREPROCESS)], CPU, "float32", train=train) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_models_of_one_convolution_are_not_measured() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 16), nn.Flatten())
    assert choose_memory_format([(model, PREPROCESS)], CPU, "float32", train=False) == "channels_last"


def test_formats_differ_in_layout_and_hardly_in_logits(teacher_file: Path) -> None:
    logits = {}
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for memory_format, layout in (("channels_last", torch.channels_last), ("contiguous", torch.contiguous_format)):
        names = [str(number) for number in range(10)]
        spec = TeacherSpec(checkpoint="file:///x")
        teacher = in_memory_format(load_teacher(spec, teacher_file, image_size=8, class_names=names), memory_format)
        kernels = [each for each in teacher.model.parameters() if each.ndim == 4]
        assert kernels
        assert all(kernel.is_contiguous(memory_format=layout) for kernel in kernels)
        logits[memory_format] = teacher.model(teacher.preprocess(pixels))
        rgb = replace(teacher.preprocess, channels=3, normalization=PREPROCESS.normalization)(pixels)
        assert rgb.is_contiguous(memory_format=layout)
    torch.testing.assert_close(logits["channels_last"], logits["contiguous"], rtol=1e-4, atol=1e-5)


def resolve(spec: DistillSpec, workdir: Path, cache: Path, **options: Any) -> TrainingSpec:
    """The resolved training of a run that is stopped at its first step."""
    emitted: list[events.Event] = []
    inputs = replace(Inputs.from_spec(spec), data_cache=cache)
    with pytest.raises(Interrupted):
        distill(spec, workdir, inputs=inputs, on_event=emitted.append, should_stop=lambda: True, **options)
    [resolved] = [event for event in emitted if isinstance(event, events.Resolved)]
    return resolved.spec.training


def test_equal_runs_and_later_attempts_keep_the_choice(
    digits_idx: Path, teacher_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": LONG, "views": LONG})
    cache, stores = tmp_path / "cache", Stores(tmp_path / "stores")
    monkeypatch.setattr(decision, "choose_memory_format", lambda *_, **__: "contiguous")
    first = resolve(spec, tmp_path / "first", cache, stores=stores)
    assert first.memory_format == first.teacher_memory_format == "contiguous"
    choices = list(cache.glob("measured-memory-format-*/measured.json"))
    assert len(choices) == 2, "one of the student, one of the teacher"
    # As if the other format were faster now: an equal run must not measure again.
    monkeypatch.setattr(decision, "choose_memory_format", lambda *_, **__: "channels_last")
    second = resolve(spec, tmp_path / "second", cache, stores=stores)
    assert second.memory_format == second.teacher_memory_format == "contiguous"
    again = resolve(spec, tmp_path / "second", tmp_path / "another cache", stores=stores)
    assert again == second


def test_short_runs_are_not_measured(digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    spec = factories.spec(digits_idx, teacher_file)
    found = resolve(spec, tmp_path / "run", tmp_path / "cache")
    assert found.memory_format == found.teacher_memory_format == "channels_last"
    assert not list((tmp_path / "cache").glob("measured-memory-format-*"))


def test_runs_in_either_format_resume_bit_identically_and_share_no_logits(
    digits_idx: Path, teacher_file: Path, tmp_path: Path
) -> None:
    for memory_format in ("channels_last", "contiguous"):
        training = {"memory_format": memory_format, "teacher_memory_format": memory_format}
        spec = factories.spec(digits_idx, teacher_file, training=training)
        whole, stopped = (tmp_path / f"{memory_format} {name}" for name in ("whole", "stopped"))
        assert distill(spec, whole, stores=Stores(tmp_path / "stores")).teacher_forwards
        stops = iter([False] * 12)
        with pytest.raises(Interrupted):
            distill(
                spec, stopped, should_stop=lambda stops=stops: next(stops, True), stores=Stores(tmp_path / "stores")
            )
        assert distill(spec, stopped, stores=Stores(tmp_path / "stores")).teacher_forwards == 0
        files = [path / "out/student.safetensors" for path in (whole, stopped)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert len(list_stores(tmp_path / "stores")) == 2
