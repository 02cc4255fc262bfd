"""The product's front door: the demo as a newcomer runs it, on the smallest real data."""

import gzip
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.demo import data


def run_demo(var: Path) -> str:
    command = [sys.executable, "-m", "cli", "demo", "--digits", "--var", str(var), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(600)
def test_the_demo_ends_with_students_and_a_second_run_reuses_what_stands(tmp_path):
    told = run_demo(tmp_path / "var")
    rows = re.findall(r"(teacher|labels|KD|WTTM) +│ +([\d,]+) │ +\d+ kB │ +([\d.]+)%", told)
    assert [row[0] for row in rows] == ["teacher", "labels", "KD", "WTTM"]
    parameters = {name: int(number.replace(",", "")) for name, number, _ in rows}
    assert parameters == {"teacher": 77_754, "labels": 5_142, "KD": 5_142, "WTTM": 5_142}
    accuracy = {name: float(number) for name, _, number in rows}
    assert accuracy["teacher"] > 90
    assert min(accuracy.values()) > 40
    assert re.search(r"dashboard http://127\.0\.0\.1:\d+/ +API docs http://127\.0\.0\.1:\d+/docs", told)
    for method in ("labels", "kd", "wttm"):
        assert (tmp_path / "var/demo" / f"student-{method}.safetensors").stat().st_size < 40_000

    started = time.monotonic()
    assert "reused" in run_demo(tmp_path / "var")
    assert time.monotonic() - started < 200


def test_the_demos_data_is_taken_from_its_cache_whole_or_made_anew(tmp_path):
    made = data.digits(tmp_path)
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    (made.folder / "t10k-labels-idx1-ubyte.gz").unlink()
    again = data.digits(tmp_path)
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == before
    assert data.images_in(again.folder) == 1297


def test_a_part_of_a_dataset_holds_its_first_images_and_the_whole_test_split(tmp_path):
    whole = data.digits(tmp_path).folder
    part = data.first_images(whole, 100, tmp_path / "part")
    assert data.images_in(part) == 100
    pixels = gzip.decompress((part / "train-images-idx3-ubyte.gz").read_bytes())
    assert pixels[16:] == gzip.decompress((whole / "train-images-idx3-ubyte.gz").read_bytes())[16 : 16 + 100 * 64]
    assert (part / "t10k-images-idx3-ubyte.gz").read_bytes() == (whole / "t10k-images-idx3-ubyte.gz").read_bytes()


def test_damaged_data_is_not_taken_for_fashion_mnist():
    with pytest.raises(ValueError, match="not the published file"):
        data._verified({"train-labels-idx1-ubyte": b"something else"})
