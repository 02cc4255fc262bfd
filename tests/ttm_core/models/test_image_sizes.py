"""Image sizes that an architecture cannot process are refused before training, with one that it can."""

import pytest

from tests.ttm_core import factories
from ttm_core.errors import BadSpec
from ttm_core.models.build import build
from ttm_core.models.image_sizes import check_image_size
from ttm_core.models.weights import write_safetensors
from ttm_core.pipeline.distill import distill
from ttm_core.spec.structure import ModelStructure


@pytest.mark.parametrize(
    ("architecture", "size", "larger"),
    [
        ("vit_tiny_patch16_224", 8, 16),
        ("convnext_atto", 8, 32),
        pytest.param("inception_v3", 32, 80, marks=pytest.mark.thorough),
        pytest.param("maxvit_nano_rw_256", 40, 48, marks=pytest.mark.thorough),
        pytest.param("torchvision/alexnet", 32, 64, marks=pytest.mark.thorough),
    ],
)
def test_the_error_names_a_size_that_works(architecture: str, size: int, larger: int) -> None:
    structure = ModelStructure(architecture=architecture, num_classes=10, in_chans=3)
    with pytest.raises(BadSpec, match=rf"{size} x {size} pixels\. Set student\.image_size .* such as {larger}\."):
        check_image_size(structure, size, "student.image_size")
    check_image_size(structure, larger, "student.image_size")


def test_a_run_is_refused_before_training(digits_idx, tmp_path):
    """The digits have 8 pixels, which are the student's where the spec has no size."""
    spec = factories.spec(digits_idx, student={"architecture": "vit_tiny_patch16_224"})
    with pytest.raises(BadSpec, match=r"Set student\.image_size to a size that it can, such as 16"):
        distill(spec, tmp_path)


def test_a_teacher_is_refused_as_well(digits_idx, tmp_path):
    path = tmp_path / "teacher.safetensors"
    structure = ModelStructure(architecture="convnext_atto", num_classes=10, in_chans=1)
    write_safetensors(path, build(structure).state_dict(), {})
    spec = factories.spec(digits_idx, {"checkpoint": path.as_uri(), "architecture": "convnext_atto"})
    with pytest.raises(BadSpec, match=r"Set teacher\.image_size to a size that it can, such as 32"):
        distill(spec, tmp_path / "run")
