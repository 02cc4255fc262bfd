"""`ttm damage` and `ttm predict` on a job of the real trainer."""

import json
from pathlib import Path

from tests.cli.conftest import Ttm
from tests.support.damaged import Damaged


def test_damage_prints_outcomes_classes_and_confusions(ttm: Ttm, damaged: Damaged) -> None:
    printed = ttm("damage", damaged.student, url=damaged.url)
    assert printed.returncode == 0, printed.stderr
    lines = [line.split("\t") for line in printed.stdout.splitlines()]
    report = json.loads(ttm("damage", damaged.student, "--json", url=damaged.url).stdout)
    assert lines[0] == ["teacher right, student wrong", str(report["outcomes"]["lost"])]
    classes = [line[0] for line in lines if len(line) == 7]
    assert classes == [row["name"] for row in report["classes"]]


def test_damage_compares_two_jobs(ttm: Ttm, damaged: Damaged) -> None:
    printed = ttm("damage", damaged.student, "--against", damaged.teacher, "--json", url=damaged.url)
    assert json.loads(printed.stdout)["reference_job"] == damaged.teacher
    assert ttm("damage", damaged.student, "--against", damaged.elsewhere, url=damaged.url).returncode == 5
    assert ttm("damage", damaged.teacher, url=damaged.url).returncode == 4


def test_predict_prints_the_answers_of_all_models(ttm: Ttm, damaged: Damaged, tmp_path: Path) -> None:
    image = next((damaged.data / "digits/val/digit-0").iterdir())
    printed = ttm("predict", damaged.student, str(image), url=damaged.url)
    assert printed.returncode == 0, printed.stderr
    models = [line.split("\t")[0] for line in printed.stdout.splitlines()]
    assert models == [name for name in ("student", "student_fp16", "student_int8", "teacher") for _ in range(5)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert ttm("predict", damaged.student, str(broken), url=damaged.url).returncode == 2
    assert ttm("predict", damaged.student, str(tmp_path / "missing.png"), url=damaged.url).returncode == 2
