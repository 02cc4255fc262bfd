"""Runs that fill the same store at once divide its blocks."""

from collections import deque
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import torch

from tests.support.fork_server import CONTEXT
from tests.ttm_core.factories import digits
from ttm_core.data.dataset import full_split
from ttm_core.data.images import ArrayImages
from ttm_core.data.views import Views
from ttm_core.models.teachers.load import load_teacher
from ttm_core.spec.dataset import NoAugmentation
from ttm_core.spec.job import TeacherSpec
from ttm_core.teacher_store.store import Stores
from ttm_core.teacher_store.stored_teacher import open_stored_teacher

IMAGES, BLOCK = 330, 32
BLOCKS = 11
HANG = 600  # seconds


def opened(root: Path, teacher_file: Path) -> Any:
    torch.set_num_threads(1)
    images, labels = digits()
    split = full_split(ArrayImages(torch.from_numpy(images[:IMAGES])[:, None]), torch.from_numpy(labels[:IMAGES]))
    names = [str(number) for number in range(10)]
    teacher = load_teacher(TeacherSpec(checkpoint="file:///x"), teacher_file, image_size=8, class_names=names)
    return open_stored_teacher(
        Stores(root),
        replace(teacher),
        Views(split, 10, NoAugmentation(), 8, 0),
        count=1,
        device=torch.device("cpu"),
        precision="float32",
        block=BLOCK,
    )


def fill_together(root: Path, teacher_file: Path, first_block: Barrier, computed: "Queue[int]") -> None:
    with opened(root, teacher_file) as stored:
        for number, _ in enumerate(stored.fill(0)):
            if number == 0:
                first_block.wait(HANG)
        computed.put(stored.computed)


def fill_one_block(root: Path, teacher_file: Path, done: Event) -> None:
    with opened(root, teacher_file) as stored:
        next(stored.fill(0))
        done.set()
        CONTEXT.Event().wait()


def fill_and_wait(root: Path, teacher_file: Path, waits: Event, computed: "Queue[int]") -> None:
    with opened(root, teacher_file) as stored:
        for number, _ in enumerate(stored.fill(0)):
            if number > BLOCKS:
                waits.set()
        computed.put(stored.computed)


def content(root: Path) -> bytes:
    [rows] = root.glob("*/rows")
    return rows.read_bytes()


def fill_alone(root: Path, teacher_file: Path) -> bytes:
    with opened(root, teacher_file) as stored:
        deque(stored.fill(0), 0)
        assert stored.computed == IMAGES
    return content(root)


def test_two_runs_compute_each_block_once(teacher_file: Path, tmp_path: Path) -> None:
    root, first_block, computed = tmp_path / "stores", CONTEXT.Barrier(2), CONTEXT.Queue()
    runs = [CONTEXT.Process(target=fill_together, args=(root, teacher_file, first_block, computed)) for _ in range(2)]
    for run in runs:
        run.start()
    shares = [computed.get(timeout=HANG) for _ in runs]
    for run in runs:
        run.join()
    assert all(shares)
    assert sum(shares) == IMAGES
    assert content(root) == fill_alone(tmp_path / "alone", teacher_file)


def test_the_blocks_of_a_killed_run_are_computed_by_the_other(teacher_file: Path, tmp_path: Path) -> None:
    root, done, waits, computed = tmp_path / "stores", CONTEXT.Event(), CONTEXT.Event(), CONTEXT.Queue()
    killed = CONTEXT.Process(target=fill_one_block, args=(root, teacher_file, done))
    killed.start()
    assert done.wait(HANG)
    other = CONTEXT.Process(target=fill_and_wait, args=(root, teacher_file, waits, computed))
    other.start()
    assert waits.wait(HANG), "the other run waits for the block that is being computed"
    killed.kill()
    assert computed.get(timeout=HANG) == IMAGES
    other.join()
    killed.join()
    assert content(root) == fill_alone(tmp_path / "alone", teacher_file)
