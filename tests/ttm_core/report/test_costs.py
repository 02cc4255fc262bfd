import pytest
import torch

from ttm_core.models.macs import macs
from ttm_core.models.preprocess import Preprocess
from ttm_core.report.costs import describe_device, describe_model
from ttm_core.spec import catalogue
from ttm_core.spec.job import Normalization
from ttm_core.spec.structure import ModelStructure

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cifar/resnet20", "deit_tiny_patch16_224"])
def test_macs_match_the_catalogue(name: str) -> None:
    row = catalogue.find(name)
    channels, size, _ = row.input_size
    structure = ModelStructure(architecture=name, num_classes=row.num_classes, in_chans=channels, image_size=size)
    assert macs(structure, size) == row.macs


def test_macs_scale_with_the_image_area() -> None:
    normalization = Normalization(mean=[0.5] * 3, std=[0.5] * 3)
    counted = []
    for size in (32, 64):
        structure = ModelStructure(architecture="cifar/resnet8", num_classes=10)
        preprocess = Preprocess(3, size, normalization)
        described = describe_model(structure, preprocess, parameters=5, file_bytes=1)
        assert described.parameters == 5
        assert described.macs is not None
        counted.append(described.macs)
    assert counted[1] / counted[0] == pytest.approx(4, rel=0.01)


def test_device_name_and_threads() -> None:
    described = describe_device(CPU)
    assert described.name.startswith("CPU, ")
    assert described.threads == torch.get_num_threads()
