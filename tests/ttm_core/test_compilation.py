"""training.compile and training.reproducible: what is refused, what is decided, and that checkpoints stay the same."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.models import create_model
from tests.ttm_core import factories
from ttm_core.errors import BadSpec
from ttm_core.hardware import compilation
from ttm_core.hardware.compilation import Compilation, CompileMode, measure_compilation
from ttm_core.models.preprocess import Preprocess
from ttm_core.pipeline.context import open_context
from ttm_core.pipeline.decisions import compilation as decision
from ttm_core.pipeline.decisions.compilation import resolve_compile_mode
from ttm_core.pipeline.distill import distill
from ttm_core.pipeline.inputs import Inputs
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.structure import ModelStructure
from ttm_core.teacher_store.store import Stores, list_stores
from ttm_core.training.trainer import Interrupted

CPU = torch.device("cpu")
PREPROCESS = Preprocess(1, 8, Normalization(mean=[0.3], std=[0.4]))

STRUCTURE = ModelStructure(architecture="mini/resnet8_025", num_classes=10, in_chans=1)

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))),
    reason="torch.compile needs a C++ compiler, and this machine has none",
)


def student() -> nn.Module:
    return create_model("mini/resnet8_025", num_classes=10, in_chans=1)


def test_compile_is_refused_before_training_where_no_compiler_works(digits_idx: Path, tmp_path: Path) -> None:
    torch.compiler.reset()
    emitted: list[events.Event] = []
    spec = factories.spec(digits_idx, training={"compile": True})
    with (
        torch._inductor.config.patch("cpp.cxx", ("no-such-compiler",)),
        pytest.raises(BadSpec, match=r"training\.compile is true, but this worker cannot compile for cpu: "),
    ):
        distill(spec, tmp_path, on_event=emitted.append, device=torch.device("cpu"))
    assert emitted == []


@pytest.mark.parametrize("reproducible", [True, False])
def test_auto_never_compiles_on_a_cpu_and_the_report_names_irreproducible_runs(
    digits_idx: Path, tmp_path: Path, reproducible: bool
) -> None:
    emitted: list[events.Event] = []
    spec = factories.spec(digits_idx, training={"epochs": 1, "reproducible": reproducible})
    distill(spec, tmp_path, on_event=emitted.append, device=torch.device("cpu"))
    [resolved] = [event for event in emitted if isinstance(event, events.Resolved)]
    assert resolved.spec.training.compile is False
    assert json.loads((tmp_path / "out/report.json").read_text())["run"]["reproducible"] is reproducible
    assert ("non-deterministic kernels" in (tmp_path / "out/report.html").read_text()) is not reproducible
    assert torch.are_deterministic_algorithms_enabled() is reproducible


def test_compilation_pays_if_it_saves_more_than_it_takes() -> None:
    found = Compilation(compile_seconds=30.0, eager_step=0.3, compiled_step=0.2)
    assert not found.pays_within(299)
    assert found.pays_within(301)
    assert not Compilation(compile_seconds=1.0, eager_step=0.2, compiled_step=0.3).pays_within(10**6)


def test_cuda_graphs_count_where_they_are_faster() -> None:
    slower = Compilation(compile_seconds=30.0, eager_step=0.3, compiled_step=0.2, graphs_step=0.25)
    assert slower.best_mode == "default"
    assert not slower.pays_within(299)
    faster = Compilation(compile_seconds=30.0, eager_step=0.3, compiled_step=0.2, graphs_step=0.1)
    assert faster.best_mode == "reduce-overhead"
    assert not faster.pays_within(149)
    assert faster.pays_within(151)


def _chosen(spec: DistillSpec, workdir: Path, cache: Path, steps: int) -> CompileMode | None:
    """What a run on a GPU chooses."""
    inputs = replace(Inputs.from_spec(spec), data_cache=cache)
    with open_context(spec, workdir, inputs, None, lambda _: None, lambda: False, CPU) as context:
        on_gpu = replace(context, device=torch.device("cuda", 0))
        training = spec.training.model_copy(update={"precision": "float32"})
        return resolve_compile_mode(training, on_gpu, student=STRUCTURE, preprocess=PREPROCESS, steps=steps)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Compilation]:
    """What measurements on a GPU find, in turn."""
    found: list[Compilation] = []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU")
    monkeypatch.setattr(decision, "check_compiler", lambda _: None)
    monkeypatch.setattr(decision, "measure_step", lambda *_, **__: found[0].eager_step)
    monkeypatch.setattr(decision, "measure_compilation", lambda *_, **__: found.pop(0))
    return found


def test_equal_runs_on_a_gpu_share_a_measurement(digits_idx: Path, tmp_path: Path, measured: list[Compilation]) -> None:
    measured += [Compilation(30.0, 0.3, 0.2, graphs_step=0.1), Compilation(30.0, 0.3, 0.4)]
    spec, cache = factories.spec(digits_idx), tmp_path / "cache"
    assert _chosen(spec, tmp_path / "first", cache, steps=1000) == "reduce-overhead"
    assert _chosen(spec, tmp_path / "second", cache, steps=1000) == "reduce-overhead"
    assert _chosen(spec, tmp_path / "few steps", cache, steps=210) == "reduce-overhead"
    assert _chosen(spec, tmp_path / "another machine", tmp_path / "its cache", steps=1000) is None
    assert _chosen(spec, tmp_path / "first", tmp_path / "evicted", steps=1000) == "reduce-overhead", "a later attempt"


def test_runs_of_less_than_a_minute_do_not_measure_compilation(
    digits_idx: Path, tmp_path: Path, measured: list[Compilation]
) -> None:
    measured += [Compilation(1.0, 0.3, 0.1)]
    assert _chosen(factories.spec(digits_idx), tmp_path / "run", tmp_path / "cache", steps=199) is None
    assert len(measured) == 1
    compiled = factories.spec(digits_idx, training={"compile": True})
    assert _chosen(compiled, tmp_path / "compiled", tmp_path / "cache", steps=199) == "default"


class _Changed(nn.Module):
    """A model whose second forward pass differs in a bit, or fails, as a recorded one might on a GPU."""

    def __init__(self, model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.change, self.calls = model, change, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.model(x)
        return self.change(logits) if self.calls == 2 else logits


def _fail(logits: Tensor) -> Tensor:
    raise RuntimeError("accessing tensor output of CUDAGraphs that has been overwritten by a subsequent run")


@pytest.mark.parametrize(
    ("change", "used"),
    [(Tensor.clone, True), (lambda logits: logits.nextafter(logits + 1), False), (_fail, False)],
    ids=["equal", "another bit", "failure"],
)
def test_cuda_graphs_are_used_only_if_they_change_no_bit(
    change: Callable[[Tensor], Tensor], used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(model: nn.Module, mode: CompileMode = "default") -> nn.Module:
        return _Changed(model, change) if mode == "reduce-overhead" else model

    monkeypatch.setattr(compilation, "compiled", compiled)
    found = measure_compilation(student(), PREPROCESS, CPU, "float32", batch_size=4, cuda_graphs=True)
    assert (found.graphs_step is not None) is used
    assert measure_compilation(student(), PREPROCESS, CPU, "float32", batch_size=4).graphs_step is None


@needs_compiler
@pytest.mark.thorough
def test_reduced_overhead_changes_no_bit_of_a_step() -> None:
    """On a CPU there is nothing to record, but the compiler's mode is the same."""
    assert measure_compilation(student(), PREPROCESS, CPU, "float32", batch_size=4, cuda_graphs=True).graphs_step


@needs_compiler
@pytest.mark.thorough
def test_compiled_runs_resume_bit_identically_with_the_same_tensor_names(
    digits_idx: Path, teacher_file: Path, tmp_path: Path
) -> None:
    stores = Stores(tmp_path / "stores")
    # At the default rate, a change of the first layer by 1e-7 changes the loss by 2 %; at this one, by less than 1e-6.
    slow = {"name": "sgd", "learning_rate": 0.01}
    specs = {
        # In float32: bfloat16 rounds more coarsely than the tolerance.
        name: factories.spec(
            digits_idx, teacher_file, training={"compile": compiled, "optimizer": slow, "precision": "float32"}
        )
        for name, compiled in (("eager", False), ("whole", True), ("stopped", True))
    }
    losses = {}
    for name, spec in specs.items():
        stops = iter([False] * 12 if name == "stopped" else [False] * 1000)
        try:
            result = distill(spec, tmp_path / name, stores=stores, should_stop=lambda stops=stops: next(stops, True))
        except Interrupted:
            torch.compiler.reset()  # as in another process
            result = distill(spec, tmp_path / name, stores=stores)
        losses[name] = result.student_validation.loss
    files = {name: (tmp_path / name / "out/student.safetensors").read_bytes() for name in specs}
    assert files["whole"] == files["stopped"]
    assert losses["whole"] == pytest.approx(losses["eager"], rel=1e-4)
    assert len(list_stores(stores.root)) == 1, "stored logits are computed without compilation"
    for path in (tmp_path / "whole/checkpoints").iterdir():
        assert "_orig_mod" not in str(list(torch.load(path, weights_only=True)["trainer"]["student"]))
