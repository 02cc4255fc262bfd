"""The error of WTTM on stored logits, and the cost of reading a stored row.

    python -m bench.store_error --teacher lite0.safetensors --images FOLDER [--count 64]

Compares loss and gradient on logits stored as float16 and int8 with float32, for a student whose logits are the
teacher's plus noise.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ttm_core import losses
from ttm_core.models.teachers.load import load_teacher
from ttm_core.spec.job import TeacherSpec
from ttm_core.teacher_store.codecs import Encoding, build_codec
from ttm_core.teacher_store.logits_file import LogitsFile

GAMMAS = (0.1, 0.2, 0.5, 0.8, 1.0)
ENCODINGS: tuple[Encoding, ...] = ("float16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG files, at any depth")
    parser.add_argument("--count", type=int, default=64)
    options = parser.parse_args()
    exact = _logits(options.teacher, options.images, options.count)
    student = exact + torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))
    print(f"{len(exact)} images, {exact.shape[1]} classes, logits from {exact.min():.1f} to {exact.max():.1f}\n")
    print("| encoding | gamma | loss, relative error | gradient, relative error |\n|---|---|---|---|")
    for encoding in ENCODINGS:
        codec = build_codec(encoding, exact.shape[1])
        stored = torch.from_numpy(codec.decode(codec.encode(exact.numpy())))
        for gamma in GAMMAS:
            loss, gradient = _wttm(student, exact, gamma)
            other, other_gradient = _wttm(student, stored, gamma)
            apart = (other_gradient - gradient).norm() / gradient.norm()
            print(f"| {encoding} | {gamma} | {abs(other - loss) / loss:.1e} | {apart:.1e} |")
    print("\n| encoding | bytes a row | reading, CPU microseconds an image |\n|---|---|---|")
    for encoding in ENCODINGS:
        print(f"| {encoding} | {build_codec(encoding, 1000).dtype.itemsize} | {_read_cost(encoding):.1f} |")


def _logits(teacher_file: Path, folder: Path, count: int) -> Tensor:
    """float32 [N, classes]."""
    names = [str(number) for number in range(1000)]
    spec = TeacherSpec(checkpoint="file:///teacher")
    teacher = load_teacher(spec, teacher_file, image_size=224, class_names=names)
    paths = sorted(folder.rglob("*.JPEG"))[:: max(len(list(folder.rglob("*.JPEG"))) // count, 1)][:count]
    size = teacher.preprocess.image_size
    pixels = [np.array(Image.open(path).convert("RGB").resize((size, size)), np.uint8) for path in paths]
    with torch.inference_mode():
        found: Tensor = teacher.model(teacher.preprocess(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)))
    return found.clone()


def _wttm(student: Tensor, teacher: Tensor, gamma: float) -> tuple[float, Tensor]:
    student = student.clone().requires_grad_()
    loss = losses.wttm(student, teacher, gamma=gamma)
    loss.backward()
    assert student.grad is not None
    return loss.item(), student.grad


def _read_cost(encoding: Encoding, rows: int = 50_000, batch: int = 64) -> float:
    """CPU microseconds per image to read random rows of 1,000 classes from a file in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        file = LogitsFile(Path(folder), build_codec(encoding, 1000), ends=np.arange(1000, rows + 1, 1000))
        some = np.random.default_rng(0).normal(size=(1000, 1000)).astype(np.float32)
        for block in range(rows // 1000):
            file.write(block, 1000 * block, some)
        file.sync()
        order = np.random.default_rng(1).permutation(rows)
        for start in range(0, rows, batch):
            file.read(order[start : start + batch])
        started = time.process_time()
        for start in range(0, rows, batch):
            file.read(order[start : start + batch])
        cost = time.process_time() - started
        file.close()
    return 1e6 * cost / rows


if __name__ == "__main__":
    main()
