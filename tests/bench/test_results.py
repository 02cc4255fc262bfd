"""The results page is current, its sentences follow from intervals, and its runs go through the service."""

import json
from pathlib import Path

import pytest

from bench.results import __main__ as results
from bench.results import settings
from bench.results.choice import chosen, final_runs
from bench.results.experiments import TABLES
from bench.results.experiments.experiment import Experiment, Setting, Variant, spec_hash
from bench.results.page import intervals, page, sentences
from bench.results.record import Record
from ttm_core.spec import recipes
from ttm_core.spec.job import DistillSpec


def _run(variant: str, seed: int, test: float, *, validation: float = 0.5, **values: float) -> dict[str, object]:
    return {
        "variant": variant,
        "seed": seed,
        "values": values,
        "validation": validation,
        "test": test,
        "cpu_seconds": 10.0 * (seed + 1),
    }


def test_page_is_current() -> None:
    """If this fails, run `python -m bench.results.page`."""
    assert page.RESULTS.with_suffix(".md").read_text(encoding="utf-8") == page.page()


def test_page_lists_every_recipe_that_was_not_reproduced() -> None:
    text = page.page()
    for name in recipes.names():
        pair, _, method = name.rpartition("/")
        (_item,) = [
            item for item in text.split("\n- ") if f"`{pair}`" in item and method in item.partition(":")[0].split(", ")
        ]


def test_every_record_says_how_it_was_made() -> None:
    for path in page.RESULTS.glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert {"cpu", "command", "started", "updated", "torch", "runs"} <= record.keys(), path.name


@pytest.mark.parametrize("name", TABLES)
def test_runs_of_every_experiment_are_valid_jobs(tmp_path: Path, name: str) -> None:
    inputs = {each: tmp_path / each for each in ("data", "teacher", "unlabelled", "photographs", "more_classes")}
    inputs |= {each: tmp_path / each for each in ("photograph_teacher", "onnx_teacher")}
    for folder in (inputs["data"] / "train", inputs["unlabelled"]):
        folder.mkdir(parents=True)
        (folder / "image.png").touch()
    setting = settings.cifar10(**inputs, hub_student="hf:someone/net", package_student="resnet18")
    experiment = TABLES[name](setting)
    assert experiment is not None
    specs = [experiment.spec(variant, {}, 1) for variant in experiment.variants if variant.contender == "service"]
    assert [DistillSpec.model_validate(spec).training.seed for spec in specs] == [1] * len(specs)
    assert experiment.reference in {variant.name for variant in experiment.variants}


def test_sentences_follow_from_the_intervals() -> None:
    base = [0.50, 0.51, 0.52]
    tests = {
        "kd": base,
        "better": [each + 0.02 for each in base],
        "worse": [0.40, 0.41, 0.43],
        "equal": [0.48, 0.52, 0.53],
        "single": [0.9],
    }
    runs = [_run(name, seed, test) for name, found in tests.items() for seed, test in enumerate(found)]
    text = sentences.comparisons({"reference": "kd", "variants": list(tests), "runs": runs})
    assert text == (
        "More accurate than kd: better (+2.00 [+2.00, +2.00] points). Less accurate than kd: worse (-9.67 [-11.10, -8.23] points). "
        "No difference from kd is shown for equal. One run each, which shows no difference: single."
    )


def test_ratio_of_costs_is_paired_by_seed() -> None:
    fast, slow = (
        [_run(name, seed, 0.5) | {"cpu_seconds": cost * (seed + 1)} for seed in range(3)]
        for name, cost in (("fast", 10.0), ("slow", 40.0))
    )
    found = intervals.ratio(fast, slow)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_validation_accuracy_of_the_first_seed_chooses() -> None:
    runs = [
        _run("kd", 0, 0.9, validation=0.4, weight=1.0),
        _run("kd", 0, 0.5, validation=0.6, weight=2.0),
        _run("kd", 1, 0.6, validation=0.9, weight=2.0),
    ]
    assert chosen("kd", runs) == {"weight": 2.0}
    assert [run["test"] for run in final_runs("kd", runs)] == [0.5, 0.6]


def test_hash_of_a_spec_ignores_folders() -> None:
    here, there = ({"dataset": {"uri": f"file://{folder}/cifar10"}, "seed": 0} for folder in ("/data", "/home/me"))
    assert spec_hash(here) == spec_hash(there)
    assert spec_hash(here) != spec_hash({**here, "seed": 1})


def test_quick_runs_go_through_the_service_and_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again: list[list[str]] = []
    run = results.run

    def run_twice(setting: Setting, running: object, out: Path, only: list[str], paths: str) -> int:
        failures = run(setting, running, out, only, paths)  # type: ignore[arg-type]
        before = Record.open(out / "methods.json").runs
        failures += run(setting, running, out, only, paths)  # type: ignore[arg-type]
        again.extend(
            [[run["variant"] for run in before], [run["variant"] for run in Record.open(out / "methods.json").runs]]
        )
        return failures

    monkeypatch.setattr(results, "run", run_twice)
    monkeypatch.setenv("TTM_STANDBY_TRAINER", "false")  # it waits for a job that does not come
    assert results.main(["--quick", "--seeds", "1"]) == 0
    assert again[0] == again[1]
    assert sorted(again[0]) == ["ce", "kd"]
    printed = capsys.readouterr().out
    assert "| ce | - |" in printed
    assert "python -m bench.results --quick --only methods" in printed


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_other_libraries_and_a_study_run(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["peers", "students", "study"]
    assert results.main(["--quick", *(word for name in names for word in ("--only", name))]) == 0
    printed = capsys.readouterr().out
    for name in names:
        assert f"python -m bench.results --quick --only {name}\n" in printed
    assert "Replaying the study gives the same decisions." in printed


def test_first_jobs_share_no_views_with_other_variants() -> None:
    variants = [Variant("later"), Variant("first", cold=True), Variant("other, first", cold=True)]
    experiment = Experiment("peers", {"training": {}}, variants, 2, reference="later")
    seeds = [experiment.spec(each, {}, seed)["training"].get("view_seed") for each in variants for seed in (0, 1)]
    assert seeds == [None, None, 1000, 1001, 2000, 2001]
