"""Models in bfloat16 on a CPU: attention without torch's fused kernel, and float32 where bfloat16 gradients are slow."""

import copy
from pathlib import Path
from typing import Any

import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from tests.ttm_core import factories
from tests.ttm_core.test_engine import assert_resumes_bit_identically
from ttm_core.export.onnx import write_unchecked
from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.students.start import start_student
from ttm_core.precision import Precision, autocast
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.structure import ModelStructure

CPU = torch.device("cpu")
CHANNELS = 16


def preprocess(size: int) -> Preprocess:
    return Preprocess(3, size, Normalization(mean=[0.5] * 3, std=[0.5] * 3))


def student(architecture: str, size: int, precision: Precision | None = None, *, train: bool = True) -> nn.Module:
    """A model with fixed weights, adapted if a precision is given."""
    structure = ModelStructure(architecture=architecture, num_classes=10, image_size=size)
    model = start_student(structure, seed=0, device=CPU)
    if precision is not None:
        adapt_to_device(model, preprocess(size), CPU, precision, train=train)
    return model


def logits(model: nn.Module, x: Tensor, precision: Precision = "bfloat16") -> Tensor:
    with autocast(CPU, precision):
        found: Tensor = model(x)
    return found.float()


def fused(model: nn.Module) -> list[bool]:
    return [module.fused_attn for module in model.modules() if hasattr(module, "fused_attn")]


def adapted_convolution(convolution: nn.Conv2d) -> nn.Conv2d:
    model = nn.Sequential(convolution)
    adapt_to_device(model, preprocess(16), CPU, "bfloat16", train=True)
    assert isinstance(model[0], nn.Conv2d)
    return model[0]


@pytest.mark.parametrize(
    ("options", "size", "in_float32"),
    [
        ({"kernel_size": 3, "padding": 1}, 8, False),
        ({"kernel_size": 1}, 8, False),
        ({"kernel_size": 3, "padding": 1, "stride": 2}, 8, True),
        ({"kernel_size": 1, "stride": 2}, 8, True),
        ({"kernel_size": 5, "padding": 2}, 8, True),
        ({"kernel_size": (1, 7), "padding": (0, 3)}, 8, True),
        ({"kernel_size": 3, "padding": 2, "dilation": 2}, 8, True),
        ({"kernel_size": 3, "padding": 1, "out_channels": 2 * CHANNELS}, 8, True),
        ({"kernel_size": 3, "padding": 1}, 2, True),
        ({"kernel_size": 5, "padding": 2, "groups": 1}, 8, False),
        ({"kernel_size": 5, "padding": 2, "groups": 2}, 8, False),
    ],
)
def test_slow_gradients_are_computed_in_float32(options: dict[str, Any], size: int, in_float32: bool) -> None:
    torch.manual_seed(0)
    original = nn.Conv2d(CHANNELS, **{"out_channels": CHANNELS, "groups": CHANNELS, **options})
    convolution = nn.Conv2d(CHANNELS, **{"out_channels": CHANNELS, "groups": CHANNELS, **options})
    convolution.load_state_dict(original.state_dict())
    convolution = adapted_convolution(convolution)
    # The input of a convolution is usually the result of another operation in bfloat16.
    x = torch.randn(4, CHANNELS, size, size).bfloat16()
    with autocast(CPU, "bfloat16"):
        y = convolution(x)
        with torch.no_grad():
            assert convolution(x).dtype == torch.bfloat16
    assert y.dtype == (torch.float32 if in_float32 else torch.bfloat16)
    y.float().square().mean().backward()
    with autocast(CPU, "float32" if in_float32 else "bfloat16"):
        expected = original(x.float() if in_float32 else x)
    expected.float().square().mean().backward()
    assert torch.equal(y, expected)
    for parameter, other in zip(convolution.parameters(), original.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad)


def test_subclasses_of_convolutions_keep_their_behavior() -> None:
    convolution = adapted_convolution(Conv2dSame(CHANNELS, CHANNELS, 5, stride=2, groups=CHANNELS))
    assert isinstance(convolution, Conv2dSame)
    with autocast(CPU, "bfloat16"):
        y = convolution(torch.randn(1, CHANNELS, 9, 9))
    assert y.shape == (1, CHANNELS, 5, 5)
    assert y.dtype == torch.float32


@pytest.mark.parametrize("architecture", ["mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224"])
def test_gradients_are_as_close_to_those_of_float32_as_without_the_changes(set_units: Any, architecture: str) -> None:
    set_units("avx512_bf16")
    size = 64
    original, adapted = student(architecture, size), student(architecture, size, "bfloat16")
    assert list(original.state_dict()) == list(adapted.state_dict())
    torch.manual_seed(0)
    x = torch.randn(16, 3, size, size).contiguous(memory_format=torch.channels_last)
    y = torch.randint(10, (16,))

    def gradient(model: nn.Module, precision: Precision) -> Tensor:
        model.zero_grad()
        nn.functional.cross_entropy(logits(model, x, precision), y).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    exact = gradient(original, "float32")
    before, after = ((gradient(model, "bfloat16") - exact).norm() / exact.norm() for model in (original, adapted))
    assert 0 < after < min(1.5 * before, 0.3)


@pytest.mark.parametrize(
    ("units", "precision", "size", "expected"),
    [
        (["avx512_bf16"], "bfloat16", 64, False),
        (["avx512_bf16"], "float32", 64, True),
        (["avx512_bf16", "amx_bf16"], "bfloat16", 64, True),
        (["avx512_bf16"], "bfloat16", 384, True),  # 577 keys
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_attention_is_unfused_where_that_is_faster_and_takes_little_memory(
    set_units: Any, units: list[str], precision: Precision, size: int, expected: bool, train: bool
) -> None:
    set_units(*units)
    model = student("vit_tiny_patch16_224", size).train(train)
    assert set(fused(model)) == {True}
    adapt_to_device(model, preprocess(size), CPU, precision, train=train)
    assert set(fused(model)) == {expected}
    assert all(module.training == train for module in model.modules())


def test_depthwise_convolutions_of_teachers_do_not_change() -> None:
    model = student("cifar/MobileNetV2", 32, "bfloat16", train=False)
    assert logits(model, torch.randn(2, 3, 32, 32)).isfinite().all()
    depthwise = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert {type(module) for module in depthwise} == {nn.Conv2d}


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize("stride", [1, 2, (1, 2), 3])
@pytest.mark.parametrize("images", [2, 16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_small_inputs_have_the_results_and_gradients_of_the_convolution(
    size: tuple[int, int], stride: Any, images: int, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    original = nn.Conv2d(3, 4, 3, stride=stride, padding=1).double()
    model = nn.Sequential(copy.deepcopy(original))
    adapt_to_device(model, preprocess(16), CPU, "float32", train=False)
    assert type(model[0]) is not nn.Conv2d
    with torch.inference_mode():  # a validation may come before the first step
        model(torch.zeros(images, 3, *size, dtype=torch.float64))
    x = torch.randn(images, 3, *size, dtype=torch.float64).contiguous(memory_format=memory_format)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    results = [module(each) for module, each in zip((original, model), inputs, strict=True)]
    torch.testing.assert_close(results[1], results[0])
    assert results[1].is_contiguous(memory_format=memory_format)
    for result in results:
        (result * torch.arange(result.numel()).view(result.shape)).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for found, expected in zip(model.parameters(), original.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    ],
)
def test_other_convolutions_compute_small_inputs_themselves(options: dict[str, Any]) -> None:
    assert type(adapted_convolution(nn.Conv2d(CHANNELS, CHANNELS, **options))) is nn.Conv2d


def test_adapted_teachers_are_exported_for_batches_of_any_size(tmp_path: Path) -> None:
    """Their last convolutions see 2 x 2 pixels."""
    model = student("mini/resnet8_025", 8, "float32", train=False).eval()
    write_unchecked(model, preprocess(8), tmp_path / "teacher.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "teacher.onnx")
    for images in (1, 3, 20):
        pixels = torch.randint(256, (images, 3, 8, 8), dtype=torch.uint8)
        [found] = session.run(None, {session.get_inputs()[0].name: pixels.float().div(255).numpy()})
        with torch.inference_mode():
            expected = model(preprocess(8)(pixels))
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def test_small_inputs_in_bfloat16() -> None:
    convolution = adapted_convolution(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))
    x = torch.randn(32, CHANNELS, 2, 2).bfloat16()
    expected = nn.functional.conv2d(x.float(), convolution.weight, convolution.bias, padding=1)
    with autocast(CPU, "bfloat16"):
        found = convolution(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    found.float().square().sum().backward()
    assert convolution.weight.grad is not None
    assert convolution.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("architecture", ["cifar/MobileNetV2", "cifar/ShuffleV2"])
def test_stopped_runs_of_depthwise_networks_resume_bit_identically(tmp_path: Path, architecture: str) -> None:
    digits = factories.digits_idx(tmp_path / "digits", train=100, test=32)
    spec = factories.spec(digits, student=architecture, training={"precision": "bfloat16"})
    assert_resumes_bit_identically(spec, tmp_path)
