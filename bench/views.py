"""Measures how many augmented views per second one thread makes.

    python -m bench.views [--seconds 2]

Images of 32 and 224 pixels are in memory; JPEGs of 500 x 375 and of 4,000 x 3,000 pixels are decoded for every view.
Freed memory is kept, as in trainers. Prints a table.
"""

import argparse
import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter

from ttm_core.data.dataset import full_split
from ttm_core.data.images import ArrayImages, EncodedImages, Images
from ttm_core.data.views import Views
from ttm_core.spec.dataset import AugmentationSpec
from ttm_core.training.devices import keep_freed_memory

CLASSES, BATCH = 10, 64
IN_MEMORY = {32: 4096, 224: 256}
"""The number of images by their size."""
CROPS: dict[str, dict[str, Any]] = {
    "crop and flip": {},
    "with erasing": {"erasing": 0.25},
    "with CutMix": {"mix": {"cutmix_alpha": 1.0}},
    "with mixup": {"mix": {"mixup_alpha": 0.2}},
    "with RandAugment": {"rand_augment": {}},
}
LARGE: dict[str, dict[str, Any]] = {"resized crop to 224 px": {}, "with RandAugment": {"rand_augment": {}}}
PHOTOGRAPHS = {(500, 375): 32, (4000, 3000): 2}
"""The number of files by their width and height."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| views | images per CPU-second, one thread |\n|---|---|")
    generator = torch.Generator().manual_seed(0)
    for size, count in IN_MEMORY.items():
        pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
        for name, fields in CROPS.items():
            rate = measure(ArrayImages(pixels), {"kind": "crop_flip", **fields}, size, BATCH, options.seconds)
            print(f"| {size} px in memory: {name} | {rate:,.0f} |")
    with ThreadPoolExecutor(1) as pool:
        for (width, height), number in PHOTOGRAPHS.items():
            files = [jpeg(seed, width, height) for seed in range(number)]
            large = EncodedImages(files, np.zeros((number, 32), np.uint8), 3, pool)
            title = f"JPEG of {width:,} x {height:,}"
            print(f"| {title}: decoding alone | {decoding(files, options.seconds):,.0f} |")
            for name, fields in LARGE.items():
                rate = measure(large, {"kind": "resized_crop", **fields}, 224, number, options.seconds)
                print(f"| {title}: {name} | {rate:,.0f} |")


def measure(images: Images, augmentation: dict[str, Any], size: int, batch: int, seconds: float) -> float:
    """Views per CPU-second."""
    spec: Any = TypeAdapter(AugmentationSpec).validate_python(augmentation)
    labels = torch.arange(len(images)) % CLASSES
    views = Views(full_split(images, labels), CLASSES, spec, size, 0)
    indices = np.arange(batch)
    views.batch(indices, 0)
    made, started = 0, time.process_time()
    while time.process_time() - started < seconds:
        views.batch(indices, 1 + made)
        made += batch
    return made / (time.process_time() - started)


def jpeg(seed: int, width: int, height: int) -> bytes:
    """A file with the detail of a photograph: smooth areas and noise, quality 90, about 1.5 bits per pixel."""
    generator = np.random.default_rng(seed)
    smooth = Image.fromarray(generator.integers(0, 256, (20, 27, 3), dtype=np.uint8))
    pixels = np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = pixels + generator.integers(-6, 7, (height, width, 1), dtype=np.int16)
    stream = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def decoding(files: list[bytes], seconds: float) -> float:
    """Images per CPU-second that Pillow decodes."""
    made, started = 0, time.process_time()
    while time.process_time() - started < seconds:
        with Image.open(io.BytesIO(files[made % len(files)])) as opened:
            opened.load()
        made += 1
    return made / (time.process_time() - started)


if __name__ == "__main__":
    main()
