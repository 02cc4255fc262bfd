import subprocess
import sys

import pytest
import torch

from tests.support.models import create_model
from ttm_core.models.workarounds import subsample_before_narrow_strided_pointwise


@pytest.mark.parametrize("architecture", ["mini/resnet8_025", "cifar/resnet8x4", "cifar/wrn_16_1", "resnet10t"])
def test_workaround_keeps_values_and_gradients(architecture):
    torch.manual_seed(0)
    plain = create_model(architecture, num_classes=3).double()
    mended = create_model(architecture, num_classes=3).double()
    mended.load_state_dict(plain.state_dict())
    subsample_before_narrow_strided_pointwise(mended)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for model in (plain, mended):
        model(x).square().sum().backward()
    for ours, theirs in zip(mended.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.thorough
def test_narrow_student_trains_on_larger_images():
    """Runs in a separate process, which crashes with a corrupted heap without the workaround."""
    code = """
import torch
from tests.support.models import create_model
from ttm_core.models.workarounds import subsample_before_narrow_strided_pointwise
model = create_model("mini/resnet8_025", num_classes=3)
subsample_before_narrow_strided_pointwise(model)
model = model.to(memory_format=torch.channels_last)
x = torch.randn(8, 3, 64, 64).contiguous(memory_format=torch.channels_last)
for _ in range(20):
    model(x).sum().backward()
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"OMP_NUM_THREADS": "1"})
