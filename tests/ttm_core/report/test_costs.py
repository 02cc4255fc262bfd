import pytest
import torch

from ttm_core.models import create_model
from ttm_core.models.preprocess import Preprocess
from ttm_core.report.costs import describe_device, describe_model, macs
from ttm_core.spec import catalogue
from ttm_core.spec.job import Normalization

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cifar/resnet20", "deit_tiny_patch16_224"])
def test_at_its_usual_size_a_model_costs_what_the_catalogue_says(name: str) -> None:
    row = catalogue.find(name)
    channels, size, _ = row.input_size
    preprocess = Preprocess(channels, size, Normalization(mean=[0.5] * 3, std=[0.5] * 3))
    assert macs(name, preprocess, row.num_classes) == row.macs


def test_half_the_side_is_a_quarter_of_the_work() -> None:
    normalization = Normalization(mean=[0.5] * 3, std=[0.5] * 3)
    counted = []
    for size in (32, 64):
        model = create_model("cifar/resnet8", num_classes=10)
        preprocess = Preprocess(3, size, normalization)
        told = describe_model(
            model, "cifar/resnet8", preprocess, num_classes=10, parameters=5, file_bytes=1, device=CPU
        )
        assert told.parameters == 5
        assert 0 < told.latency.batch_1 < told.latency.batch_32
        assert told.macs is not None
        counted.append(told.macs)
    assert counted[1] / counted[0] == pytest.approx(4, rel=0.01)


def test_a_device_names_itself_and_its_threads() -> None:
    told = describe_device(CPU)
    assert told.name.startswith("CPU, ")
    assert told.threads == torch.get_num_threads()
