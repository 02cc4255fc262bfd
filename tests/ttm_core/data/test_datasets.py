"""Dataset readers: splits, classes and errors."""

import re
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from tests.ttm_core.factories import digits, digits_folder, digits_idx, write_idx
from ttm_core.data.archives.unpack import unpack
from ttm_core.data.build import held_in_memory, read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Dataset, check, full_split, hold_out
from ttm_core.data.encoded.decoding import decode
from ttm_core.data.images import ArrayImages
from ttm_core.errors import BadDataset
from ttm_core.spec.dataset import DatasetSpec


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def open_at(path, tmp_path, pool, **fields):
    return read_dataset(DatasetSpec(uri=path.as_uri(), **fields), path, DataCache(tmp_path / "cache"), pool)


def test_image_folder_has_one_folder_per_class(tmp_path, pool):
    dataset = open_at(digits_folder(tmp_path / "set"), tmp_path, pool)
    assert dataset.class_names == ["digit-0", "digit-1", "digit-2"]
    assert (len(dataset.train), len(dataset.validation), dataset.test) == (24, 12, None)
    assert (dataset.channels, dataset.image_size) == (3, 24)
    assert dataset.train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8


def test_images_of_a_class_may_be_in_folders_of_any_depth(tmp_path, pool):
    train = digits_folder(tmp_path / "set") / "train"
    (train / "digit-0/more/deep").mkdir(parents=True)
    (train / "digit-0/000.png").rename(train / "digit-0/more/deep/000.png")
    (train / "digit-3/all").mkdir(parents=True)
    (train / "digit-2/000.png").rename(train / "digit-3/all/000.png")
    (train / "digit-1/.hidden").mkdir()
    (train / "digit-1/000.png").rename(train / "digit-1/.hidden/000.png")
    dataset = open_at(tmp_path / "set", tmp_path, pool)
    assert dataset.class_names == ["digit-0", "digit-1", "digit-2", "digit-3"]
    assert dataset.train.labels.bincount().tolist() == [8, 7, 7, 1]
    assert dataset.warnings == []


def test_without_a_training_folder_groups_of_classes_are_not_classes(tmp_path, pool):
    digits_folder(tmp_path / "all")
    for group in ("photographs", "sketches"):
        shutil.copytree(tmp_path / "all/train", tmp_path / "set" / group)
    refused(tmp_path, pool, "unknown format")


def test_files_that_are_left_out_are_reported(tmp_path, pool):
    train = digits_folder(tmp_path / "set") / "train"
    (train / "digit-9").mkdir()
    for name in ("a.heic", "b.heic", ".DS_Store", "Thumbs.db"):
        (train / "digit-1" / name).write_bytes(b"no image")
    (train / "digit-0/000.png").rename(train / "digit-0/000.jfif")
    dataset = open_at(tmp_path / "set", tmp_path, pool)
    assert len(dataset.train) == 24
    assert dataset.warnings == [
        "folders of the train split without images are not classes: digit-9",
        "skipped 2 files of the train split whose names are not those of images: train/digit-1/a.heic, "
        "train/digit-1/b.heic",
    ]


def test_evaluated_images_among_the_training_images_are_reported(tmp_path, pool):
    folder = digits_folder(tmp_path / "set")
    assert open_at(folder, tmp_path, pool).warnings == []
    (folder / "test/digit-1").mkdir(parents=True)
    for number in (0, 1):
        shutil.copy(folder / f"train/digit-0/00{number}.png", folder / f"val/digit-0/again-{number}.png")
    shutil.copy(folder / "train/digit-2/000.png", folder / "test/digit-1/other-class.png")
    first, second = open_at(folder, tmp_path, pool).warnings
    assert first.startswith("2 of 14 validation images are also training images")
    assert second.startswith("1 of 1 test images are also training images")


def test_classes_without_training_images_are_reported(tmp_path, pool):
    images, labels = digits()
    chosen = np.isin(labels, [0, 3])
    (tmp_path / "set").mkdir()
    for name in ("train", "t10k"):
        write_idx(tmp_path / "set" / f"{name}-images-idx3-ubyte.gz", images[chosen][:40])
        write_idx(tmp_path / "set" / f"{name}-labels-idx1-ubyte.gz", labels[chosen][:40].astype(np.uint8))
    dataset = open_at(tmp_path / "set", tmp_path, pool)
    assert dataset.warnings == ["2 of 4 classes have no training images: 1, 2"]


@pytest.mark.parametrize("kind", ["tar", "gztar", "zip"])
def test_archive_equals_its_folder(tmp_path, pool, kind):
    digits_folder(tmp_path / "set")
    archive = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "set")  # one folder that holds all
    dataset = open_at(tmp_path / archive, tmp_path, pool)
    unpacked = open_at(tmp_path / "set", tmp_path, pool)
    indices = np.arange(24)
    assert torch.equal(
        dataset.train.images.center_squares(indices, 16), unpacked.train.images.center_squares(indices, 16)
    )
    assert dataset.class_names == unpacked.class_names


def test_validation_holds_out_a_share_of_each_class(tmp_path, pool):
    digits_folder(tmp_path / "set", each=10)
    dataset = open_at(tmp_path / "set" / "train", tmp_path, pool, validation={"share": 0.2})
    assert (len(dataset.train), len(dataset.validation)) == (24, 6)
    held = dataset.validation.labels[torch.from_numpy(dataset.validation.indices)]
    assert torch.bincount(held).tolist() == [2, 2, 2]
    assert not set(dataset.train.indices) & set(dataset.validation.indices)


def test_test_split_is_never_used_for_validation(tmp_path, pool):
    dataset = open_at(digits_idx(tmp_path / "idx", train=200, test=50), tmp_path, pool)
    assert len(dataset.test) == 50
    assert dataset.validation.images is dataset.train.images
    assert len(dataset.train) + len(dataset.validation) == 200


def test_idx_round_trip(tmp_path, pool):
    images, labels = digits()
    dataset = open_at(digits_idx(tmp_path / "idx", train=100), tmp_path, pool)
    assert np.array_equal(dataset.train.images.pixels[:, 0].numpy(), images[:100])
    assert dataset.train.labels.tolist() == labels[:100].tolist()


def test_idx_file_name_variants(tmp_path, pool):
    images, labels = digits()
    write_idx(tmp_path / "train-images.idx3-ubyte", images[:50], zipped=False)
    write_idx(tmp_path / "train-labels.idx1-ubyte", labels[:50].astype(np.uint8), zipped=False)
    assert len(open_at(tmp_path, tmp_path, pool).train) == 40  # one of each of ten classes is held out


def test_validation_indices_depend_on_the_seed(tmp_path):
    labels = torch.arange(100) % 10
    split = full_split(ArrayImages(torch.zeros(100, 1, 8, 8, dtype=torch.uint8)), labels)
    first, again, other = (hold_out(split, 0.3, seed)[1].indices.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_decoding_into_memory_keeps_images_and_indices(tmp_path, pool):
    digits_folder(tmp_path / "set", each=10)
    dataset = open_at(tmp_path / "set" / "train", tmp_path, pool)
    held = held_in_memory(dataset, 16, whole_train_images=True)
    for before, after in ((dataset.train, held.train), (dataset.validation, held.validation)):
        assert isinstance(after.images, ArrayImages)
        assert torch.equal(
            before.images.center_squares(before.indices, 16), after.images.center_squares(after.indices, 16)
        )
        assert (
            before.labels[torch.from_numpy(before.indices)].tolist()
            == after.labels[torch.from_numpy(after.indices)].tolist()
        )
    assert np.array_equal(dataset.train.indices, held.train.indices)
    apart = held_in_memory(dataset, 16, whole_train_images=False)
    assert apart.train.images is dataset.train.images
    assert torch.equal(
        apart.validation.images.center_squares(apart.validation.indices, 16),
        held.validation.images.center_squares(held.validation.indices, 16),
    )


def test_mixed_image_modes_are_converted_to_rgb(tmp_path, pool):
    digits_folder(tmp_path / "set")
    for number, mode in enumerate(["L", "RGBA", "P", "CMYK", "LA", "1", "I;16"]):
        Image.new(mode, (10 + number, 30)).save(
            tmp_path / "set/train/digit-0" / f"odd-{number}.{'tif' if mode in ('CMYK',) else 'png'}"
        )
    dataset = open_at(tmp_path / "set", tmp_path, pool)
    assert dataset.channels == 3
    assert dataset.image_size is None
    assert dataset.unreadable == []
    assert dataset.train.images.center_squares(np.arange(len(dataset.train)), 16).shape == (31, 3, 16, 16)


def test_gray_images_keep_one_channel(tmp_path, pool):
    dataset = open_at(digits_folder(tmp_path / "set", mode="L"), tmp_path, pool)
    assert dataset.channels == 1
    assert dataset.train.images.center_squares(np.arange(2), 24).shape == (2, 1, 24, 24)


def test_16_bit_images_are_scaled(tmp_path):
    wide = np.array([[0, 32896, 65535]] * 3, dtype=np.uint16)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.array(decode(tmp_path / "wide.png", 1))[0].tolist() == [0, 128, 255]
    Image.fromarray(wide // 256).save(tmp_path / "dark.png")
    assert np.array(decode(tmp_path / "dark.png", 1))[0].tolist() == [0, 0, 1]
    # As microscopes write it.
    Image.frombytes("I;16B", (3, 3), wide.astype(">u2").tobytes()).save(tmp_path / "wide.tif")
    assert np.array(decode(tmp_path / "wide.tif", 3))[0, :, 2].tolist() == [0, 128, 255]


def test_gray_floats_from_0_to_1_are_scaled(tmp_path):
    """As scikit-image writes them; rounded to integers, they would be black."""
    Image.fromarray(np.array([[0, 0.25, 1]] * 3, dtype=np.float32)).save(tmp_path / "unit.tif")
    assert np.array(decode(tmp_path / "unit.tif", 1))[0].tolist() == [0, 64, 255]
    Image.fromarray(np.array([[0, 1, 200]] * 3, dtype=np.float32)).save(tmp_path / "bytes.tif")
    assert np.array(decode(tmp_path / "bytes.tif", 1))[0].tolist() == [0, 1, 200]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_gray_floats_without_a_value_are_unreadable(tmp_path, pool, value):
    digits_folder(tmp_path / "set", mode="L")
    Image.fromarray(np.array([[0, 0.5], [value, 1]], dtype=np.float32)).save(tmp_path / "set/train/digit-1/x.tif")
    dataset = open_at(tmp_path / "set", tmp_path, pool, max_unreadable=0.2)
    assert [(bad.name, bad.reason) for bad in dataset.unreadable] == [
        ("train/digit-1/x.tif", "ValueError: the image has NaN or infinite values")
    ]


def test_eps_images_do_not_start_ghostscript(tmp_path, monkeypatch):
    """Pillow hands EPS to Ghostscript, whatever the file is called."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # looked up once a process
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(OSError, match="cannot identify"):
        decode(eps, 3)
    assert not (tmp_path / "ran").exists()


def test_unreadable_images_are_skipped_up_to_the_limit(tmp_path, pool):
    digits_folder(tmp_path / "set")
    (tmp_path / "set/train/digit-1/broken.png").write_bytes(b"not an image")
    truncated = (tmp_path / "set/train/digit-1/000.png").read_bytes()[:60]
    (tmp_path / "set/train/digit-1/short.png").write_bytes(truncated)
    dataset = open_at(tmp_path / "set", tmp_path, pool, max_unreadable=0.2)
    assert {bad.name for bad in dataset.unreadable} == {"train/digit-1/broken.png", "train/digit-1/short.png"}
    assert len(dataset.train) == 24
    with pytest.raises(BadDataset, match="2 of 38 images cannot be read"):
        open_at(tmp_path / "set", tmp_path, pool)


def test_image_above_the_pixel_limit_is_unreadable(tmp_path, pool):
    digits_folder(tmp_path / "set")
    Image.new("1", (40_000, 4_000)).save(tmp_path / "set/train/digit-1/bomb.png")
    assert [bad.name for bad in open_at(tmp_path / "set", tmp_path, pool, max_unreadable=0.2).unreadable] == [
        "train/digit-1/bomb.png"
    ]


def refused(tmp_path, pool, words, path=None, **fields):
    with pytest.raises(BadDataset, match=words):
        open_at(path or tmp_path / "set", tmp_path, pool, **fields)


def test_unsupported_inputs_are_refused(tmp_path, pool):
    (tmp_path / "set").mkdir()
    refused(tmp_path, pool, "unknown format")
    shutil.rmtree(digits_folder(tmp_path / "measured") / "train")
    refused(tmp_path, pool, "but no training images", path=tmp_path / "measured")
    refused(tmp_path, pool, "does not exist", path=tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    refused(tmp_path, pool, "neither a tar nor a zip", path=tmp_path / "text")


def test_dataset_with_one_class_is_refused(tmp_path, pool):
    digits_folder(tmp_path / "set", classes=1)
    refused(tmp_path, pool, "at least two classes; the dataset has one, 'digit-0'. .* Tables of labels are not read")


def test_class_missing_in_training_is_refused(tmp_path, pool):
    digits_folder(tmp_path / "set")
    shutil.copytree(tmp_path / "set/val/digit-0", tmp_path / "set/val/stranger")
    refused(tmp_path, pool, "classes that the training split lacks: stranger")


def test_symbolic_link_out_of_the_dataset_is_refused(tmp_path, pool):
    digits_folder(tmp_path / "set")
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "set/train/digit-0/link.png").symlink_to(tmp_path / "secret.png")
    refused(tmp_path, pool, "symbolic link out of the dataset")


def test_splits_may_link_to_images_in_another_folder_of_the_dataset(tmp_path, pool):
    digits_folder(tmp_path / "set")
    expected = open_at(tmp_path / "set", tmp_path, pool)
    (tmp_path / "set/all").mkdir()
    for number, folder in enumerate(sorted((tmp_path / "set/train").iterdir())):
        folder.rename(tmp_path / f"set/all/{folder.name}")
        if number:
            (tmp_path / "set/train" / folder.name).symlink_to(f"../all/{folder.name}")
        else:
            folder.mkdir()
            for image in (tmp_path / "set/all" / folder.name).iterdir():
                (folder / image.name).symlink_to(f"../../all/{folder.name}/{image.name}")
    found = open_at(tmp_path / "set", tmp_path, pool)
    assert found.train.images.fingerprint() == expected.train.images.fingerprint()
    assert torch.equal(found.train.labels, expected.train.labels)


def test_images_and_folders_that_are_not_read_are_listed(tmp_path, pool):
    digits_folder(tmp_path / "set")
    Image.new("L", (8, 8)).save(tmp_path / "set/train/stray.png")
    shutil.copytree(tmp_path / "set/val", tmp_path / "set/dev")
    (tmp_path / "set/masks").mkdir()
    warnings = open_at(tmp_path / "set", tmp_path, pool).warnings
    assert re.search(r"1 images of the train split that are in no class folder: train/stray\.png", " ".join(warnings))
    assert re.search(r"next to the training split are not read: dev\. ", " ".join(warnings))


def test_a_table_of_labels_next_to_unlabelled_images_is_listed(tmp_path, pool):
    (tmp_path / "set").mkdir()
    for number in range(4):
        Image.new("L", (8, 8), number).save(tmp_path / f"set/{number}.png")
    (tmp_path / "set/labels.csv").write_text("file,label")
    assert "skipped 1 files" in " ".join(open_at(tmp_path / "set", tmp_path, pool).warnings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed with Zstandard. Pack the files into a tar"),
        (b"7z\xbc\xaf'\x1c" + bytes(600), "a 7z archive. Pack"),
    ],
)
def test_other_files_are_named(tmp_path, pool, content, message):
    (tmp_path / "set").write_bytes(content)
    refused(tmp_path, pool, message)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "train-labels-idx1-ubyte.gz").unlink(), "with train-labels"),
        (lambda folder: write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(7, np.uint8)), "but .* has shape"),
        (lambda folder: (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bjunk"), "cannot be read"),
        (
            lambda folder: (folder / "train-images-idx3-ubyte.gz").rename(folder / "train-images-idx3-ubyte"),
            "not an IDX file",
        ),
    ],
)
def test_damaged_idx_is_refused(tmp_path, pool, damage, words):
    damage(digits_idx(tmp_path / "set", train=50, test=10))
    refused(tmp_path, pool, words)


def test_idx_header_with_excessive_size_is_refused(tmp_path, pool):
    digits_idx(tmp_path / "set", train=50, test=10)
    for path, dimensions in (("train-images-idx3-ubyte", 3), ("t10k-images-idx3-ubyte", 3)):
        (tmp_path / "set" / f"{path}.gz").unlink()
        (tmp_path / "set" / path).write_bytes(b"\0\0\x08" + bytes([dimensions]) + b"\xff" * 12 + b"xyz")
    refused(tmp_path, pool, "claims")


def test_archives_are_detected_by_content(tmp_path):
    with zipfile.ZipFile(tmp_path / "noname", "w") as archive:
        archive.writestr("a", "b")
    with tarfile.open(tmp_path / "other", "w:gz") as archive:
        archive.add(tmp_path / "noname", "a")
    unpack(tmp_path / "noname", tmp_path / "first")
    unpack(tmp_path / "other", tmp_path / "second")
    assert (tmp_path / "first" / "a").read_bytes() == b"b"
    assert (tmp_path / "second" / "a").is_file()


@pytest.mark.parametrize("kind", ["I;16", "I", "F", "I;16B"])
@pytest.mark.parametrize("size", [(3, 5), (2000, 1500)])
def test_wide_gray_images_are_scaled_in_strips_as_a_whole(tmp_path, kind, size):
    """A large image is converted in several strips; only the last strip has values above 255."""
    values = np.zeros(size[::-1], np.float64)
    values[-1] = np.linspace(0, 65535, size[0])
    stored = {"I;16": "<u2", "I": "<i4", "F": "<f4", "I;16B": ">u2"}[kind]
    image = Image.frombytes(kind, size, values.astype(stored).tobytes())
    image.save(tmp_path / "x.tiff")
    decoded = np.asarray(decode(tmp_path / "x.tiff", 1))
    assert np.array_equal(decoded, np.rint(values.astype(stored).astype(np.float64) / 257).astype(np.uint8))


@pytest.mark.parametrize(
    ("names", "words"), [(["a" * 257, "b"], "257 characters"), ([f"{n:0200}" for n in range(11_000)], "together")]
)
def test_class_names_have_a_limit(names, words):
    split = full_split(ArrayImages(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)), torch.tensor([0, 1, 0, 1]))
    dataset = Dataset(split, None, None, None, names, 2, [])
    with pytest.raises(BadDataset, match=words):
        check(dataset)
    check(replace(dataset, class_names=["a" * 256, "b"]))
