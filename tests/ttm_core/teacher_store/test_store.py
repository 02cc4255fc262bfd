"""The store: what is read is what was computed, whoever computed it, whatever died meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ttm_core.factories import digits
from ttm_core import losses
from ttm_core.data.dataset import Split, whole
from ttm_core.data.images import ArrayImages
from ttm_core.data.specs import CropFlip
from ttm_core.data.views import Views
from ttm_core.spec import TeacherSpec
from ttm_core.teacher_store.key import StoreKey, store_key
from ttm_core.teacher_store.logits_file import LogitsFile
from ttm_core.teacher_store.store import list_stores, open_store, prune
from ttm_core.teacher_store.stored_teacher import BLOCK, StoredTeacher
from ttm_core.teachers.load import Teacher, load_teacher

CPU = torch.device("cpu")
KEY = StoreKey("teacher", "images", {"kind": "none"}, 8, 0, {})


@pytest.fixture
def split() -> Split:
    images, labels = digits()
    split = whole(ArrayImages(torch.from_numpy(images[:700])[:, None]), torch.from_numpy(labels[:700]))
    return replace(split, indices=split.indices[split.indices % 7 != 0])


@pytest.fixture
def teacher(teacher_file: Path) -> Teacher:
    names = [str(number) for number in range(10)]
    return load_teacher(TeacherSpec(checkpoint="file:///x"), teacher_file, image_size=8, class_names=names)


def views_of(split: Split, seed: int = 0) -> Views:
    return Views(split.images, CropFlip(padding=1), 8, seed)


def stored(root: Path, teacher: Teacher, split: Split, **fields):
    views = views_of(split)
    key = store_key(teacher, split, views.augmentation, size=8, seed=0, precision="float32", device=CPU, block=BLOCK)
    shape = {"views": 3, "rows": len(split), "classes": 10, "block": BLOCK, **fields}
    return open_store(root, key, **shape), lambda file: StoredTeacher(
        teacher, file, split, views, device=CPU, precision="float32"
    )


@torch.inference_mode()
def online(teacher: Teacher, split: Split, indices: np.ndarray, view: int) -> torch.Tensor:
    return teacher.model(teacher.preprocess(views_of(split).batch(indices, view)))


def test_what_is_read_is_the_teachers_logits_within_half_a_step(tmp_path, teacher, split):
    store, serve = stored(tmp_path, teacher, split)
    with store as file:
        served = serve(file)
        for view in (0, 2):
            deque(served.fill(view), 0)
            indices = np.random.default_rng(view).permutation(split.indices)[:100]
            read, exact = served.logits(indices, view), online(teacher, split, indices, view)
            half_a_step = torch.from_numpy(np.spacing(read.numpy().astype(np.float16))).float().abs() / 2
            assert ((read - exact).abs() <= half_a_step + 1e-5).all()
        assert served.computed == 2 * len(split)
        assert served.read == 200


def test_losses_and_gradients_on_stored_logits_are_the_online_ones(tmp_path, teacher, split):
    store, serve = stored(tmp_path, teacher, split)
    with store as file:
        served = serve(file)
        deque(served.fill(0), 0)
        indices = split.indices[:128]
        found = []
        for logits in (served.logits(indices, 0), online(teacher, split, indices, 0)):
            student = torch.randn(128, 10, generator=torch.Generator().manual_seed(0), requires_grad=True)
            loss = losses.wttm(student, logits, gamma=0.1)
            loss.backward()
            found.append((loss.item(), student.grad))
    (loss, gradient), (exact_loss, exact_gradient) = found
    assert loss == pytest.approx(exact_loss, rel=1e-3)
    assert (gradient - exact_gradient).norm() < 1e-3 * exact_gradient.norm()


def test_a_second_job_runs_the_teacher_not_once(tmp_path, teacher, split):
    for expected in (len(split), 0):
        store, serve = stored(tmp_path, teacher, split)
        with store as file:
            served = serve(file)
            deque(served.fill(1), 0)
            assert served.computed == expected


def test_the_numbers_do_not_depend_on_who_fills_in_which_order(tmp_path, teacher, split):
    read = []
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        store, serve = stored(tmp_path / name, teacher, split)
        with store as file:
            for view in order:
                deque(serve(file).fill(view), 0)  # a new one each time, as after a restart
            read.append(torch.stack([serve(file).logits(split.indices, view) for view in range(3)]))
    assert torch.equal(read[0], read[1])


def test_more_views_grow_the_same_store(tmp_path, teacher, split):
    store, serve = stored(tmp_path, teacher, split)
    with store as file:
        deque(serve(file).fill(2), 0)
        before = serve(file).logits(split.indices, 2)
    store, serve = stored(tmp_path, teacher, split, views=9)
    with store as file:
        assert file.missing(2) == []
        assert len(file.missing(8)) == file.blocks
        assert torch.equal(serve(file).logits(split.indices, 2), before)


@pytest.mark.parametrize(
    "change", ["weights", "class_map", "images", "split", "augmentation", "size", "seed", "precision", "threads"]
)
def test_whatever_decides_a_logit_is_in_the_key(change, teacher, split):
    def digest(teacher=teacher, split=split, augmentation=None, size=8, seed=0, precision="float32"):
        augmentation = augmentation or CropFlip(padding=1)
        return store_key(
            teacher, split, augmentation, size=size, seed=seed, precision=precision, device=CPU, block=BLOCK
        ).digest

    before = digest()
    assert digest() == before
    match change:
        case "weights":
            with torch.no_grad():
                next(teacher.model.parameters()).view(-1)[0] += 1e-6
            after = digest()
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
        case "threads":
            torch.set_num_threads(2)
            after = digest()
            torch.set_num_threads(1)
    assert after != before


WRITER = """
import sys, numpy as np
from pathlib import Path
from ttm_core.teacher_store import logits_file
logits_file._SYNC_BYTES = 3 * 64 * 100 * 2
file = logits_file.LogitsFile(Path(sys.argv[1]), views=200, rows=640, classes=100, block=64)
print("ready", flush=True)
for view in range(200):
    for block in file.missing(view):
        file.write(view, block, np.full((64, 100), view * 10 + block, np.float16))
    file.sync()
"""


def test_killed_at_any_moment_no_torn_row_is_ever_read(tmp_path):
    """Writers are killed again and again, two at a time; every block that counts as present is whole."""
    present = 0
    for trial in range(6):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "store")], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            writer.stdout.readline()
        time.sleep(0.003 * trial)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        file = LogitsFile(tmp_path / "store", views=200, rows=640, classes=100, block=64)
        for view in range(200):
            for block in set(range(10)) - set(file.missing(view)):
                rows = file.read(view, np.arange(block * 64, block * 64 + 64))
                assert (rows == np.float16(view * 10 + block)).all()
                present += 1
        file.close()
    assert present > 0


def test_a_block_is_not_present_before_it_is_durable(tmp_path):
    one = LogitsFile(tmp_path, views=1, rows=10, classes=2, block=5)
    other = LogitsFile(tmp_path, views=1, rows=10, classes=2, block=5)
    one.write(0, 1, np.ones((5, 2), np.float16))
    assert one.missing(0) == [0]
    assert other.missing(0) == [0, 1]
    one.sync()
    assert other.missing(0) == [0]
    assert (other.read(0, np.arange(5, 10)) == 1).all()
    with pytest.raises(ValueError, match="has shape"):
        one.write(0, 0, np.ones((4, 2), np.float16))
    one.close()
    other.close()


def test_space_is_taken_by_what_is_written(tmp_path):
    with open_store(tmp_path, KEY, views=1000, rows=1000, classes=100, block=100) as file:
        file.write(500, 3, np.ones((100, 100), np.float16))
    (info,) = list_stores(tmp_path)
    assert 20_000 <= info.bytes < 300_000


def test_the_least_recently_used_go_first_and_none_that_is_open(tmp_path):
    keys = [replace(KEY, seed=seed) for seed in range(4)]
    for age, key in enumerate(keys):
        with open_store(tmp_path, key, views=1, rows=1000, classes=100, block=1000) as file:
            file.write(0, 0, np.ones((1000, 100), np.float16))
        os.utime(tmp_path / key.digest / "key.json", (1000 + age, 1000 + age))
    with open_store(tmp_path, keys[0], views=1, rows=1000, classes=100, block=1000):
        os.utime(tmp_path / keys[0].digest / "key.json", (1, 1))
        assert prune(tmp_path, 450_000) == [keys[1].digest, keys[2].digest]
    assert [info.digest for info in list_stores(tmp_path)] == [keys[3].digest, keys[0].digest]
    assert prune(tmp_path, 450_000) == []
    assert prune(tmp_path, 0) == [keys[0].digest, keys[3].digest]
    assert list_stores(tmp_path) == []
