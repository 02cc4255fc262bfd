"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, MIT license) from the nearest source."""

import gzip
import hashlib
import math
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

# SHA-256 of the decompressed files, because distributions recompress them.
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_PACKAGE = "dataset-fashion-mnist"
_ORIGIN = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_CONNECT_SECONDS, _READ_SECONDS = 3.0, 10.0
_APT_SECONDS = 180


@dataclass(frozen=True)
class Data:
    """A folder of IDX files. `flip` says whether mirrored images are valid training images."""

    name: str
    folder: Path
    origin: str
    flip: bool


def obtain(cache: Path, log: Callable[[str], None]) -> Data:
    """Fashion-MNIST from the cache, the system, the network or the system's package; else scikit-learn's digits."""
    folder = cache / "fashion-mnist"
    if _is_intact(folder):
        return Data("Fashion-MNIST", folder, "cache", flip=True)
    for origin, fetch in (("Debian's package", _from_system), ("download", _download), ("apt-get", _apt_get)):
        try:
            files = fetch(log)
        except (OSError, httpx2.HTTPError, subprocess.SubprocessError, ValueError) as error:
            log(f"not from {origin}: {error}")
            continue
        _store(folder, files)
        return Data("Fashion-MNIST", folder, origin, flip=True)
    log("Fashion-MNIST is not available: using scikit-learn's 1,797 handwritten digits of 8 x 8 pixels")
    return digits(cache)


def digits(cache: Path) -> Data:
    """scikit-learn's handwritten digits (1,797 images, 8 x 8). The last 500 are the test split."""
    folder = cache / "digits"
    if not _complete(folder):
        from sklearn.datasets import load_digits  # imported here: takes a second

        data = load_digits()
        images = (data.images * (255 / 16)).round().astype("uint8")
        labels = data.target.astype("uint8")
        files = {}
        for prefix, part in (("train", slice(0, 1297)), ("t10k", slice(1297, None))):
            for kind, array in (("images-idx3", images[part]), ("labels-idx1", labels[part])):
                files[f"{prefix}-{kind}-ubyte"] = _header(*array.shape) + array.tobytes()
        _store(folder, files)
    return Data("digits", folder, "scikit-learn", flip=False)


def first_images(source: Path, count: int, target: Path) -> Path:
    """Creates a dataset of the first `count` training images and the full test split of `source`."""
    if not _complete(target):
        files = {name: _unpacked(source, name) for name in FILES}
        for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
            files[name] = _head(files[name], count)
        _store(target, files)
    return target


def images_in(folder: Path) -> int:
    """The number of training images in an IDX folder."""
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as stream:
        return int(struct.unpack(">4xI", stream.read(8))[0])


def _from_system(log: Callable[[str], None]) -> dict[str, bytes]:
    if not _DEBIAN.is_dir():
        raise FileNotFoundError(f"no {_DEBIAN}")
    return _verified({name: gzip.decompress((_DEBIAN / f"{name}.gz").read_bytes()) for name in FILES})


def _download(log: Callable[[str], None]) -> dict[str, bytes]:
    log("downloading Fashion-MNIST (31 MB)")
    timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
    with httpx2.Client(timeout=timeout, follow_redirects=False) as client:
        return _verified(
            {name: gzip.decompress(client.get(f"{_ORIGIN}/{name}.gz").raise_for_status().content) for name in FILES}
        )


def _apt_get(log: Callable[[str], None]) -> dict[str, bytes]:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise FileNotFoundError(f"needs root and apt-get (as root: apt-get install {_PACKAGE})")
    log(f"installing the system package {_PACKAGE}")
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True, "check": True}
    subprocess.run([apt, "-qq", "update"], timeout=_APT_SECONDS, **quiet)  # type: ignore[call-overload]
    subprocess.run([apt, "-qq", "install", "-y", _PACKAGE], timeout=_APT_SECONDS, **quiet)  # type: ignore[call-overload]
    return _from_system(log)


def _header(*shape: int) -> bytes:
    """The header of an IDX file of unsigned bytes."""
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def _head(idx: bytes, count: int) -> bytes:
    """The first `count` entries of an IDX file of unsigned bytes."""
    dimensions = idx[3]
    first, *rest = struct.unpack_from(f">{dimensions}I", idx, 4)
    count = min(count, first)
    start = 4 + 4 * dimensions
    return _header(count, *rest) + idx[start : start + count * math.prod(rest)]


def _verified(files: dict[str, bytes]) -> dict[str, bytes]:
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != FILES[name]:
            raise ValueError(f"{name} is not the published file")
    return files


def _unpacked(folder: Path, name: str) -> bytes:
    return gzip.decompress((folder / f"{name}.gz").read_bytes())


def _complete(folder: Path) -> bool:
    return all((folder / f"{name}.gz").is_file() for name in FILES)


def _is_intact(folder: Path) -> bool:
    try:
        return _complete(folder) and bool(_verified({name: _unpacked(folder, name) for name in FILES}))
    except (OSError, EOFError, ValueError):
        return False


def _store(folder: Path, files: dict[str, bytes]) -> None:
    """Writes all files atomically."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in files.items():
        (partial / f"{name}.gz").write_bytes(gzip.compress(content, 1, mtime=0))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
