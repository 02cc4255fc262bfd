"""Exports of untrained students by several processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

from ttm_core.errors import EngineError
from ttm_core.process import die_with
from ttm_core.study.untrained import UntrainedFiles, UntrainedStudent, export_untrained

_T = TypeVar("_T")

_LONGEST_REASON = 300

Export = UntrainedFiles | str
"""The files of a student, or why it has none."""


@contextmanager
def exports(students: Sequence[UntrainedStudent], folder: Path, processes: int) -> Iterator[Iterator[Export]]:
    """The exports of `students` in their order, as `folder/INDEX.onnx` and `folder/INDEX-int8.onnx`.

    The exporter runs Python code for most of its time, so threads would wait for each other. On leaving the block,
    exports that have begun are finished, and others are not begun.

    Args:
        students: the students.
        folder: where to write.
        processes: the number of processes. With 1, this process exports; otherwise it must not have used a GPU.

    Raises:
        OSError: a file cannot be written.
        MemoryError: there is not enough memory.
        BrokenProcessPool: a process was killed.
    """
    processes = min(processes, len(students))
    export = partial(_export, folder)
    if processes <= 1:
        yield map(export, range(len(students)), students)
        return
    # Started processes would import PyTorch and read the data again, for 8 s each. The copies use one thread, and none
    # of the threads of this process.
    pool = ProcessPoolExecutor(processes, get_context("fork"), _set_up, (os.getpid(),))
    try:
        yield pool.map(export, range(len(students)), students)
    finally:
        pool.shutdown(cancel_futures=True)


def _set_up(parent: int) -> None:
    """Sets up a process of the pool."""
    die_with(parent)
    torch.set_num_threads(1)


def _export(folder: Path, index: int, student: UntrainedStudent) -> Export:
    return or_reason(partial(export_untrained, student, folder, str(index)))


def or_reason(call: Callable[[], _T]) -> _T | str:
    """The result of building, exporting or measuring a student, or in one line why this is not possible.

    Raises:
        OSError, MemoryError, EngineError: as `call` does, where they are no fault of the student.
    """
    try:
        return call()
    except (OSError, MemoryError):
        raise
    except EngineError as error:
        if error.retryable:
            raise
        return error.message[:_LONGEST_REASON]
    except Exception as error:  # models and exporters raise any exception for what they do not support
        text = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST_REASON]
        return f"cannot be built or exported: {text}"
