"""Exported students reproduce the logits of PyTorch, for several architectures."""

import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from onnxscript.function_libs.torch_lib.registration import default_registry
from PIL import Image
from torch.onnx._internal.exporter._registration import ONNXRegistry

from ttm_core.data.dataset import Split, full_split
from ttm_core.data.images import ArrayImages, EncodedImages
from ttm_core.errors import BadCheckpoint
from ttm_core.export.exporter import fast_exporter
from ttm_core.export.formats.timm_folder import write_timm_zip
from ttm_core.export.formats.write import FILES, ExportSource, write_exports
from ttm_core.export.onnx import LogitsDiffer, load_onnx, write_onnx
from ttm_core.export.student import Student
from ttm_core.models import build
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.events import Event, Log
from ttm_core.spec.job import Normalization
from ttm_core.spec.speed.quantize import QuantizeSpec
from ttm_core.spec.structure import STUDENT_FORMAT, ModelStructure

# A small architecture of each kind and larger ones, by image size in pixels.
SMALL = {"mini/resnet8_025": 8, "test_efficientnet": 32, "test_vit": 32}
LARGE = {
    "cifar/resnet20": 32,
    "cifar/MobileNetV2": 32,
    "cifar/ShuffleV1": 32,
    "tf_efficientnet_lite0": 32,
    "deit_tiny_patch16_224": 32,
}
CLASSES = ["ant", "bee", "cat"]


def made(architecture: str, size: int, channels: int = 3, seed: int = 0) -> Student:
    torch.manual_seed(seed)
    structure = ModelStructure(architecture=architecture, num_classes=len(CLASSES), in_chans=channels, image_size=size)
    model = build(structure)
    normalization = Normalization(mean=[0.4] * channels, std=[0.2] * channels)
    metadata = {
        "format": STUDENT_FORMAT,
        "structure": structure.model_dump(mode="json"),
        "class_names": CLASSES,
        "normalization": normalization.model_dump(),
    }
    # Trained statistics, so that the logits of two images differ.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(32, channels, size, size))
    return Student(model.eval(), structure, CLASSES, Preprocess(channels, size, normalization), metadata)


def images(count: int, size: int, channels: int = 3) -> Split:
    chance = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=chance)
    return full_split(ArrayImages(pixels), torch.arange(count) % len(CLASSES))


def source(student: Student) -> ExportSource:
    size, channels = student.preprocess.image_size, student.preprocess.channels
    held_out = images(12, size, channels)
    return ExportSource(student, images(40, size, channels), held_out, "validation", held_out, 0.5, QuantizeSpec())


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.thorough) for name in LARGE)])
def test_onnx_reproduces_pytorch_logits_for_any_batch_size(name: str, tmp_path: Path) -> None:
    student = made(name, (SMALL | LARGE)[name], channels=1 if name.startswith("mini/") else 3)
    (form,) = write_exports(source(student), ["onnx"], tmp_path, lambda event: None)
    assert form.reason is None
    assert form.difference is not None
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    split = images(5, student.preprocess.image_size, student.preprocess.channels)
    pixels = split.images.center_squares(split.indices, student.preprocess.image_size)
    (logits,) = session.run(["logits"], {"image": pixels.numpy().astype(np.float32) / 255})
    with torch.inference_mode():
        expected = student.model(student.preprocess(pixels))
    assert expected.std(0).min() > 1e-3, "the logits say something"
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-4)


def test_onnx_file_has_metadata(tmp_path: Path) -> None:
    student = made("mini/resnet8_025", 8)
    write_exports(source(student), ["onnx"], tmp_path, lambda event: None)
    opened = load_onnx(tmp_path / "student.onnx")
    assert (opened.architecture, opened.class_names) == ("mini/resnet8_025", CLASSES)
    pixels = images(3, 8).images.center_squares(np.arange(3), 8)
    torch.testing.assert_close(opened.predict(pixels), student.predict(pixels), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_foreign_onnx_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.onnx"
    if content is None:  # a valid model without metadata
        node = onnx.helper.make_node("Identity", ["image"], ["logits"])
        ends = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("image", "logits")]
        graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)
    else:
        path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"x\.onnx"):
        load_onnx(path)


def test_equal_students_give_equal_files_without_local_paths(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        student = made("mini/resnet8_025", 8)
        write_exports(source(student), [*FILES], tmp_path / name, lambda event: None)
        write_timm_zip(made("test_efficientnet", 32), tmp_path / name / "student-timm.zip")
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert set(written[0]) == {*FILES.values()}
    assert written[0] == written[1]
    assert not [
        name for name, content in written[0].items() if str(Path(torch.__file__).parents[1]).encode() in content
    ]


def test_int8_has_a_quarter_of_the_size_and_its_own_accuracy(tmp_path: Path) -> None:
    student = made("mini/resnet8_150", 16)
    (tmp_path / "float").mkdir()
    (exact,) = write_exports(source(student), ["onnx"], tmp_path / "float", lambda event: None)
    (form,) = write_exports(source(student), ["onnx_int8"], tmp_path, lambda event: None)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["student-int8.onnx"], (
        "the float file is temporary"
    )
    assert form.size is not None
    assert exact.size is not None
    assert form.size < 0.4 * exact.size
    assert form.quantization is not None
    assert (form.quantization.calibration_images, form.split) == (40, "validation")
    assert {each.calibration for each in form.quantization.tried} == {"min_max", "percentile", "mse", "entropy"}
    assert form.quantization.chosen.agreement == max(each.agreement for each in form.quantization.tried)
    session = onnxruntime.InferenceSession(tmp_path / "student-int8.onnx")
    split = images(12, 16)
    pixels = split.images.center_squares(split.indices, 16).numpy().astype(np.float32) / 255
    (logits,) = session.run(["logits"], {"image": pixels})
    assert form.top1 == pytest.approx((logits.argmax(1) == split.labels.numpy()).mean())


@pytest.mark.parametrize(
    "name", ["test_vit", *(pytest.param(name, marks=pytest.mark.thorough) for name in SMALL | LARGE if "/" in name)]
)
def test_float16_file_and_program_predict_as_the_student(name: str, tmp_path: Path) -> None:
    student = made(name, (SMALL | LARGE)[name], channels=1 if name.startswith("mini/") else 3)
    half, program = write_exports(source(student), ["onnx_fp16", "pt2"], tmp_path, lambda event: None)
    assert (half.reason, program.reason) == (None, None)
    assert (half.precision, half.agreement) == ("fp16", 1.0)
    assert (program.precision, program.agreement, program.top1) == (None, 1.0, 0.5)
    split = images(5, student.preprocess.image_size, student.preprocess.channels)
    pixels = split.images.center_squares(split.indices, student.preprocess.image_size)
    image = pixels.float() / 255
    with torch.inference_mode():
        expected = student.model(student.preprocess(pixels))
        opened = torch.export.load(tmp_path / "student.pt2", extra_files=(extra := {"ttm": ""}))
        torch.testing.assert_close(opened.module()(image), expected, atol=1e-4, rtol=1e-4)
    assert json.loads(extra["ttm"])["class_names"] == CLASSES

    weights = onnx.load(tmp_path / "student-fp16.onnx").graph.initializer
    elements = {kind: sum(np.prod(each.dims) for each in weights if each.data_type == kind) for kind in (1, 10)}
    assert elements[onnx.TensorProto.FLOAT] < 0.1 * elements[onnx.TensorProto.FLOAT16]
    session = onnxruntime.InferenceSession(tmp_path / "student-fp16.onnx")
    (logits,) = session.run(["logits"], {"image": image.numpy()})
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected.numpy(), atol=0.02 * float(expected.abs().max()))


def test_operators_beyond_the_range_of_float16_stay_in_float32(tmp_path: Path) -> None:
    class Large(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.mean((2, 3)) * 1e4) * (x.amax((2, 3)) * 1e4) / 1e8

    mini = made("test_efficientnet", 32)
    student = Student(Large(), mini.structure, CLASSES, mini.preprocess, mini.metadata)
    (half,) = write_exports(source(student), ["onnx_fp16"], tmp_path, lambda event: None)
    assert half.reason is None
    assert half.agreement == 1
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tmp_path / "student-fp16.onnx", options)
    pixels = images(3, 32).images.center_squares(np.arange(3), 32)
    (logits,) = session.run(["logits"], {"image": pixels.numpy().astype(np.float32) / 255})
    np.testing.assert_allclose(logits, student.model(student.preprocess(pixels)).numpy(), rtol=0.01)


def test_timm_opens_the_folder(tmp_path: Path) -> None:
    student = made("mobilenetv1_100", 32)
    (form,) = write_exports(source(student), ["timm"], tmp_path, lambda event: None)
    assert form.reason is None
    with zipfile.ZipFile(tmp_path / "student-timm.zip") as archive:
        archive.extractall(tmp_path)
    opened = timm.create_model(f"local-dir:{tmp_path / 'student-timm'}", pretrained=True).eval()
    batch = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(opened(batch), student.model(batch))
    config = timm.data.resolve_model_data_config(opened)
    assert (config["input_size"], list(config["mean"]), config["crop_pct"]) == ((3, 32, 32), [0.4, 0.4, 0.4], 1.0)
    config = json.loads((tmp_path / "student-timm" / "config.json").read_text())
    assert config["label_names"] == CLASSES


def test_failed_export_is_missing_with_its_reason(tmp_path: Path) -> None:
    """timm does not ship the project's models, and control flow that depends on values cannot be traced."""

    class Deciding(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) if float(x.sum()) > 0 else x.amax((2, 3))

    mini = made("mini/resnet8_025", 8)
    emitted: list[Event] = []
    student = Student(Deciding(), mini.structure, CLASSES, mini.preprocess, mini.metadata)
    formats = write_exports(source(student), ["timm", "onnx"], tmp_path, emitted.append)
    assert [form.size for form in formats] == [None, None]
    assert formats[0].reason is not None
    assert formats[0].reason.startswith("timm does not ship mini/resnet8_025")
    assert [event.level for event in emitted if isinstance(event, Log)] == ["warning"]
    assert list(tmp_path.iterdir()) == []


def test_onnx_file_that_differs_from_pytorch_is_rejected(tmp_path: Path) -> None:
    class Unlike(torch.nn.Module):
        """Returns other logits during export."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) + (1e-3 if torch.compiler.is_exporting() else 0)

    mini = made("mini/resnet8_025", 8)
    student = Student(Unlike(), mini.structure, CLASSES, mini.preprocess, mini.metadata)
    with pytest.raises(LogitsDiffer, match=r"on 1 images the file's logits differ from PyTorch's by 0\.001"):
        write_onnx(student, tmp_path / "x.onnx", images(7, 8).images.center_squares(np.arange(7), 8))


def test_fast_exporter_parses_operators_only_when_needed() -> None:
    operator = default_registry["aten::abs"].overloads[0]
    parsed = operator.function_ir
    with fast_exporter():
        unparsed = operator.function_ir
        assert type(unparsed) is not type(parsed)
        assert (unparsed.domain, unparsed.name) == (parsed.domain, parsed.name)
    assert type(operator.function_ir) is type(parsed)


def test_fast_exporter_builds_the_registry_once_and_restores_the_exporter() -> None:
    build = ONNXRegistry.from_torchlib
    registries = []
    for _ in range(2):
        with fast_exporter():
            registries.append(ONNXRegistry.from_torchlib(opset_version=18))
        assert ONNXRegistry.from_torchlib == build
    assert registries[0] is registries[1]
    assert registries[0].functions.keys() == build(opset_version=18).functions.keys()


def test_storage_errors_are_raised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        write_exports(source(made("mini/resnet8_025", 8)), ["onnx"], tmp_path / "gone", lambda event: None)


def test_onnx_runtime_sends_and_logs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import ttm_core.export.onnx"],
        env={"PATH": os.environ["PATH"], "HOME": "/proc/missing"},
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (3, "P"), (1, "RGB"), (1, "I;16")])
def test_pillow_images_are_predicted_as_in_the_evaluation(channels: int, mode: str, tmp_path: Path) -> None:
    student = made("mini/resnet8_025", 8, channels)
    values = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(values).convert(mode)
    image.save(tmp_path / "image.png")
    digests = np.zeros((1, 32), np.uint8)
    with ThreadPoolExecutor(1) as pool:
        evaluated = EncodedImages([tmp_path / "image.png"], digests, channels, pool).center_squares(np.array([0]), 8)
    torch.testing.assert_close(student.predict(image), student.predict(evaluated), atol=0, rtol=0)
