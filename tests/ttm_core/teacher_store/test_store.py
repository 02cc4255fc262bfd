"""The teacher store: logits are read as computed, also after concurrent writes and crashes."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ttm_core.factories import digits
from ttm_core import losses
from ttm_core.data.dataset import Split, full_split
from ttm_core.data.images import ArrayImages
from ttm_core.data.views import Views
from ttm_core.models.teachers.load import Teacher, load_teacher
from ttm_core.spec.dataset import CropFlip
from ttm_core.spec.job import TeacherSpec
from ttm_core.teacher_store import key as key_module
from ttm_core.teacher_store.codecs import Encoding, build_codec
from ttm_core.teacher_store.key import StoreKey, store_key
from ttm_core.teacher_store.logits_file import LogitsFile
from ttm_core.teacher_store.store import Stores, list_stores, open_store, prune
from ttm_core.teacher_store.stored_teacher import BLOCK, open_stored_teacher

CPU = torch.device("cpu")
KEY = StoreKey("teacher", "images", {"kind": "none"}, 8, 0, {}, "float16")


@pytest.fixture
def split() -> Split:
    images, labels = digits()
    split = full_split(ArrayImages(torch.from_numpy(images[:700])[:, None]), torch.from_numpy(labels[:700]))
    return replace(split, indices=split.indices[split.indices % 7 != 0])


@pytest.fixture
def teacher(teacher_file: Path) -> Teacher:
    names = [str(number) for number in range(10)]
    return load_teacher(TeacherSpec(checkpoint="file:///x"), teacher_file, image_size=8, class_names=names)


def views_of(split: Split, seed: int = 0) -> Views:
    return Views(split, 10, CropFlip(padding=1), 8, seed)


def stored(root: Path, teacher: Teacher, split: Split, *, views: int = 3, encoding: Encoding = "float16"):
    return open_stored_teacher(
        Stores(root),
        teacher,
        views_of(split),
        count=views,
        device=CPU,
        precision="float32",
        encoding=encoding,
        block=BLOCK,
    )


@torch.inference_mode()
def online(teacher: Teacher, split: Split, indices: np.ndarray, view: int) -> torch.Tensor:
    return teacher.model(teacher.preprocess(views_of(split).batch(indices, view)))


def test_stored_logits_match_the_teacher_within_rounding(tmp_path, teacher, split):
    with stored(tmp_path, teacher, split) as served:
        for view in (0, 2):
            deque(served.fill(view), 0)
            indices = np.random.default_rng(view).permutation(split.indices)[:100]
            read, exact = served.logits(indices, view), online(teacher, split, indices, view)
            half_a_step = torch.from_numpy(np.spacing(np.abs(read.numpy()).astype(np.float16))).float() / 2
            assert ((read - exact).abs() <= half_a_step + 1e-5).all()
        # There are 18 distinct views, so the third view repeats some of the first two.
        assert 2 * len(split) < served.computed < 3 * len(split)
        assert served.read == 200


@pytest.mark.parametrize(("encoding", "close"), [("float16", 1e-3), ("int8", 1e-2)])
def test_stored_and_online_losses_and_gradients_agree(tmp_path, teacher, split, encoding, close):
    with stored(tmp_path, teacher, split, encoding=encoding) as served:
        deque(served.fill(0), 0)
        indices = split.indices[:128]
        found = []
        for logits in (served.logits(indices, 0), online(teacher, split, indices, 0)):
            student = torch.randn(128, 10, generator=torch.Generator().manual_seed(0), requires_grad=True)
            loss = losses.wttm(student, logits, gamma=0.1)
            loss.backward()
            found.append((loss.item(), student.grad))
    (loss, gradient), (exact_loss, exact_gradient) = found
    assert loss == pytest.approx(exact_loss, rel=close)
    assert (gradient - exact_gradient).norm() < close * exact_gradient.norm()


def test_filled_store_needs_no_teacher_forward(tmp_path, teacher, split):
    with stored(tmp_path, teacher, split) as served:
        deque(served.fill(1), 0)
        assert served.computed >= len(split)
    with stored(tmp_path, teacher, split) as served:
        deque(served.fill(1), 0)
        assert served.computed == 0


def test_stored_logits_do_not_depend_on_the_filling_order(tmp_path, teacher, split):
    read = []
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        for view in order:
            with stored(tmp_path / name, teacher, split) as served:  # opened anew each time, as after a restart
                deque(served.fill(view), 0)
        with stored(tmp_path / name, teacher, split) as served:
            read.append(torch.stack([served.logits(split.indices, view) for view in range(3)]))
    assert torch.equal(read[0], read[1])


def test_more_views_grow_the_same_store(tmp_path, teacher, split):
    with stored(tmp_path, teacher, split) as served:
        deque(served.fill(2), 0)
        before = served.logits(split.indices, 2)
    with stored(tmp_path, teacher, split, views=9) as served:
        deque(served.fill(2), 0)
        assert served.computed == 0
        assert torch.equal(served.logits(split.indices, 2), before)
        deque(served.fill(8), 0)
        assert served.computed > 0
    assert len(list_stores(tmp_path)) == 1


@pytest.mark.parametrize(
    "change",
    [
        "weights",
        "class_map",
        "images",
        "split",
        "augmentation",
        "size",
        "seed",
        "precision",
        "encoding",
        "threads",
        "processor",
        "instructions",
        "units",
    ],
)
def test_key_contains_everything_that_affects_logits(change, teacher, split, monkeypatch):
    def digest(
        teacher=teacher, split=split, augmentation=None, size=8, seed=0, precision="float32", encoding="float16"
    ):
        augmentation = augmentation or CropFlip(padding=1)
        views = Views(split, 10, augmentation, size, seed)
        return store_key(teacher, views, precision=precision, device=CPU, block=BLOCK, encoding=encoding).digest

    before = digest()
    assert digest() == before
    match change:
        case "weights":
            model = deepcopy(teacher.model)
            with torch.no_grad():
                next(model.parameters()).view(-1)[0] += 1e-6
            after = digest(teacher=replace(teacher, model=model))
        case "class_map":
            after = digest(teacher=replace(teacher, class_map=[1, 0, *range(2, 10)]))
        case "images":
            pixels = split.images.pixels.clone()
            pixels[3, 0, 0, 0] ^= 1
            after = digest(split=replace(split, images=ArrayImages(pixels)))
        case "split":
            after = digest(split=replace(split, indices=split.indices[1:]))
        case "augmentation":
            after = digest(augmentation=CropFlip(padding=2))
        case "size":
            after = digest(size=9)
        case "seed":
            after = digest(seed=1)
        case "precision":
            after = digest(precision="bfloat16")
        case "encoding":
            after = digest(encoding="int8")
        case "threads":
            torch.set_num_threads(2)
            after = digest()
            torch.set_num_threads(1)
        case "processor":
            monkeypatch.setattr(key_module, "cpu_model", lambda: "another processor")
            after = digest()
        case "instructions":
            monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
            after = digest()
        case "units":
            units = torch.cpu.get_capabilities()
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**units, "amx_bf16": not units.get("amx_bf16")})
            after = digest()
    assert after != before


WRITER = """
import sys, numpy as np
from pathlib import Path
from ttm_core.teacher_store import logits_file
from ttm_core.teacher_store.codecs import build_codec
logits_file._SYNC_BYTES = 3 * 64 * 100 * 2
file = logits_file.LogitsFile(Path(sys.argv[1]), build_codec(sys.argv[2], 100), ends=64 * np.arange(1, 2001))
print("ready", flush=True)
for start in range(0, 2000, 10):
    for block in file.missing(np.arange(start, start + 10)):
        file.write(block, 64 * block, np.full((64, 100), block, np.float32))
    file.sync()
"""


@pytest.mark.parametrize("encoding", ["float16", "int8"])
def test_killed_writer_leaves_no_partial_rows(tmp_path, encoding):
    """Two writers at a time are killed repeatedly. Every block that counts as present is complete."""
    present = 0
    for trial in range(4):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "store"), encoding], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            writer.stdout.readline()
        time.sleep(0.003 * trial)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        file = LogitsFile(tmp_path / "store", build_codec(encoding, 100), ends=64 * np.arange(1, 2001))
        absent = file.missing(np.arange(2000))
        file.drop_damaged(np.arange(2000))
        assert file.missing(np.arange(2000)) == absent
        for block in set(range(2000)) - set(absent):
            rows = file.read(np.arange(block * 64, block * 64 + 64))
            assert (rows == block).all()
            present += 1
        file.close()
    assert present > 0


def small_file(folder: Path, *, rows: int, blocks: int, classes: int) -> LogitsFile:
    return LogitsFile(folder, build_codec("float16", classes), ends=rows // blocks * np.arange(1, blocks + 1))


def test_block_is_present_only_once_durable(tmp_path):
    one, other = (small_file(tmp_path, rows=10, blocks=2, classes=2) for _ in range(2))
    both = np.arange(2)
    one.write(1, 5, np.ones((5, 2), np.float32))
    assert one.missing(both) == [0]
    assert other.missing(both) == [0, 1]
    one.sync()
    assert other.missing(both) == [0]
    assert (other.read(np.arange(5, 10)) == 1).all()
    one.close()
    other.close()


def _truncate(rows: Path, size: int) -> None:
    os.truncate(rows, size)


def _change(rows: Path, *offsets: int) -> None:
    with rows.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(b"\xff")


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        # The file is extended by zeros, which must not be read as logits. A block has 8 bytes here.
        (Path.unlink, [0, 1, 2, 3]),
        (lambda rows: _truncate(rows, 11), [1, 2, 3]),
        (lambda rows: _change(rows, 9, 31), [1, 3]),
    ],
)
def test_damaged_blocks_are_missing(tmp_path, damage, lost, caplog):
    file = small_file(tmp_path, rows=10, blocks=5, classes=2)
    for block in range(4):
        file.write(block, 2 * block, np.ones((2, 2), np.float32))
    file.close()
    damage(tmp_path / "rows")
    every = np.arange(5)
    for _ in range(2):  # also in the next run
        file = small_file(tmp_path, rows=10, blocks=5, classes=2)
        file.drop_damaged(every)
        assert file.missing(every) == [*lost, 4]
        file.close()
    assert caplog.text.count(f"{len(lost)} blocks are damaged") == 1


def test_store_file_is_sparse(tmp_path):
    with open_store(tmp_path, KEY, build_codec("float16", 100), ends=100 * np.arange(1, 10_001)) as file:
        file.write(5003, 500_300, np.ones((100, 100), np.float32))
    (info,) = list_stores(tmp_path)
    assert 20_000 <= info.bytes < 300_000


def test_pruning_deletes_least_recently_used_stores_that_are_not_open(tmp_path):
    keys = [replace(KEY, seed=seed) for seed in range(4)]
    for age, key in enumerate(keys):
        with open_store(tmp_path, key, build_codec("float16", 100), ends=np.array([1000])) as file:
            file.write(0, 0, np.ones((1000, 100), np.float32))
        os.utime(tmp_path / key.digest / "key.json", (1000 + age, 1000 + age))
    with open_store(tmp_path, keys[0], build_codec("float16", 100), ends=np.array([1000])):
        os.utime(tmp_path / keys[0].digest / "key.json", (1, 1))
        assert prune(tmp_path, 450_000) == [keys[1].digest, keys[2].digest]
    assert [info.digest for info in list_stores(tmp_path)] == [keys[3].digest, keys[0].digest]
    assert prune(tmp_path, 450_000) == []
    assert prune(tmp_path, 0) == [keys[0].digest, keys[3].digest]
    assert list_stores(tmp_path) == []
