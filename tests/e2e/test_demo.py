"""The demo, run as a new user runs it, on the smallest real dataset."""

import gzip
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cli.demo import command, data
from tests.support.outgoing import OutgoingConnections


def run_demo(var: Path, environment: Mapping[str, str]) -> str:
    arguments = [sys.executable, "-m", "cli", "demo", "--digits", "--var", str(var), "--port", "0"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_demo_produces_students_and_keeps_the_teacher(tmp_path, capsys):
    outgoing = OutgoingConnections(tmp_path / "hook", tmp_path / "var/work")
    output = run_demo(tmp_path / "var", outgoing.environment)
    rows = re.findall(r"(teacher|labels|KD|WTTM) +│ +([\d,]+) │ +\d+ kB │ +([\d.]+)%", output)
    assert [row[0] for row in rows] == ["teacher", "labels", "KD", "WTTM"]
    parameters = {name: int(number.replace(",", "")) for name, number, _ in rows}
    assert parameters == {"teacher": 77_754, "labels": 5_142, "KD": 5_142, "WTTM": 5_142}
    accuracy = {name: float(number) for name, _, number in rows}
    assert accuracy["teacher"] > 90
    assert min(accuracy.values()) > 40
    assert re.search(r"dashboard http://127\.0\.0\.1:\d+/ +API docs http://127\.0\.0\.1:\d+/docs", output)
    for method in ("labels", "kd", "wttm"):
        assert (tmp_path / "var/demo" / f"student-{method}.safetensors").stat().st_size < 40_000

    # The study rejects the large candidate and recommends the smallest that keeps the accuracy.
    assert re.search(r"mini/resnet8_150: .*bytes", output)
    assert re.search(r"Recommended: mini/resnet8_0(25|50), (int8|fp32)", output)
    assert "accuracy\n" in output
    assert "size in kB" in output
    assert 0 < (tmp_path / "var/demo/student-study.safetensors").stat().st_size < 200_000

    # No process of the service, the trainer or the readers connects to another machine or asks for its address.
    recording = outgoing.recorded()
    assert recording.remote_hosts == set()
    assert "127.0.0.1" in recording.hosts
    assert {"api", "worker", "worker.dispatcher", "ttm_core", "ttm_core.reader"} <= recording.modules

    # A second run uses the teacher's file and trains students only.
    folder = tmp_path / "var/demo"
    assert command._submit_teacher(None, data.digits(folder), folder / "teacher-digits.safetensors") is None
    assert "reused" in capsys.readouterr().out


def test_recording_of_outgoing_connections_finds_other_hosts(tmp_path):
    outgoing = OutgoingConnections(tmp_path / "hook", tmp_path)
    # Nothing is sent: the lookup is of a number, and the socket is a UDP socket.
    code = """
import contextlib, socket
socket.getaddrinfo("192.0.2.1", 80)
with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as one:
    one.connect(("192.0.2.2", 80))
"""
    subprocess.run([sys.executable, "-c", code], env=outgoing.environment, check=True)
    assert outgoing.recorded().remote_hosts == {"192.0.2.1", "192.0.2.2"}


def test_demo_data_is_read_from_a_complete_cache_or_created_again(tmp_path):
    made = data.digits(tmp_path)
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    (made.folder / "t10k-labels-idx1-ubyte.gz").unlink()
    cached = data.digits(tmp_path)
    assert {path.name: path.read_bytes() for path in cached.folder.iterdir()} == before
    assert data.images_in(cached.folder) == 1297


def test_dataset_subset_has_the_first_images_and_the_full_test_split(tmp_path):
    full = data.digits(tmp_path).folder
    part = data.first_images(full, 100, tmp_path / "part")
    assert data.images_in(part) == 100
    pixels = gzip.decompress((part / "train-images-idx3-ubyte.gz").read_bytes())
    assert pixels[16:] == gzip.decompress((full / "train-images-idx3-ubyte.gz").read_bytes())[16 : 16 + 100 * 64]
    assert (part / "t10k-images-idx3-ubyte.gz").read_bytes() == (full / "t10k-images-idx3-ubyte.gz").read_bytes()


def test_damaged_fashion_mnist_download_is_rejected():
    with pytest.raises(ValueError, match="not the published file"):
        data._verified({"train-labels-idx1-ubyte": b"something else"})
