import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
import timm

from ttm_core.checkpoints.signatures import Signature, read_signatures
from ttm_core.models import timm_name
from ttm_core.models.build_catalogue import CATALOGUE, describe, names, tags
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import UnknownArchitecture

# One of each kind: the project's, convolutional, attention, tagged without a classifier, in a hybrid, and small.
SAMPLE = [
    "cifar/resnet20",
    "cifar/ShuffleV2",
    "mini/resnet8_025",
    "resnet18",
    "mobilenetv3_small_050",
    "vit_tiny_patch16_224",
    "deit3_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "cait_xxs24_224",
    "tf_efficientnet_lite0",
    "vit_small_patch14_dinov2",
]


def test_catalogue_names_match_timm_and_the_project() -> None:
    """If this fails, run `python -m ttm_core.models.build_catalogue`."""
    assert [row.name for row in catalogue.all()] == names()


@pytest.fixture(scope="module")
def signatures() -> dict[str, Signature]:
    return {signature.architecture: signature for signature in read_signatures()}


@pytest.mark.parametrize("name", SAMPLE)
def test_catalogue_rows_match_the_models(name: str, signatures: dict[str, Signature]) -> None:
    row, signature, reason = describe(name)
    assert (row, reason) == (catalogue.find(name), None)
    assert signature == signatures[name]


def test_published_sizes() -> None:
    assert catalogue.find("resnet50").parameters == 25_557_032
    assert catalogue.find("resnet50").macs == pytest.approx(4.1e9, rel=0.01)
    assert catalogue.find("vit_base_patch16_224").macs == pytest.approx(17.58e9, rel=0.01)
    assert catalogue.find("cifar/resnet56").macs == pytest.approx(125.75e6, rel=0.01)


def test_every_row_is_complete() -> None:
    for row in catalogue.all():
        channels, height, width = row.input_size
        assert row.parameters > 0
        assert row.macs is None or row.macs > 0
        assert len(row.mean) == len(row.std) == channels
        assert min(height, width) > 0
        assert row.crop_pct > 0
        assert row.num_classes >= 0


def test_file_is_small_with_one_model_per_line() -> None:
    text = CATALOGUE.read_text()
    assert len(text) < 450_000
    assert text.count("\n") == len(catalogue.all()) + 2


def test_catalogue_loads_lazily_without_torch() -> None:
    code = (
        "import sys, ttm_core.spec.catalogue as c; assert not {'torch', 'timm', 'numpy', 'pydantic'} & sys.modules.keys();"
        "assert c._catalogue.cache_info().currsize == 0; c.find('resnet18'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rows_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        catalogue.find("resnet18").parameters = 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar/resnet-20", "cifar/resnet20"),
        ("ResNet18", "resnet18"),
        ("resnet20", "cifar/resnet20"),
        ("resnet8_025", "mini/resnet8_025"),
        ("mobilenet_v3_large", "mobilenetv3_large_100"),
        ("resnet18.a1_in2k", "resnet18"),
        ("cifar/resnet20.a1_in1k", "cifar/resnet20"),
    ],
)
def test_unknown_architecture_suggests_similar_names(name: str, expected: str) -> None:
    with pytest.raises(UnknownArchitecture, match=expected) as caught:
        catalogue.find(name)
    assert expected in caught.value.nearest
    assert caught.value.code == "unknown_architecture"
    assert caught.value.origin == "user"


def test_timm_tag_selects_the_configuration_of_its_weights() -> None:
    plain, tagged = catalogue.find("vit_base_patch16_224"), catalogue.find("vit_base_patch16_224.augreg_in21k")
    assert (tagged.name, tagged.num_classes, tagged.parameters) == (
        "vit_base_patch16_224.augreg_in21k",
        21843,
        plain.parameters,
    )
    assert catalogue.find("vit_base_patch16_224.dino").mean != plain.mean


def test_tags_match_the_installed_timm() -> None:
    """If this fails, run `python -m ttm_core.models.build_catalogue`."""
    known = {f"{row.name}.{tag}" for row in catalogue.all() for tag in row.tags}
    assert known == {name for name in timm.list_models(include_tags=True) if "." in name}
    for row in catalogue.all():
        assert tags(timm_name(row.name)) == row.tags


def test_empty_name_has_no_similar_names() -> None:
    with pytest.raises(UnknownArchitecture) as caught:
        catalogue.find("§§§")
    assert caught.value.nearest == []
    assert "did you mean" not in str(caught.value)


def test_nearest_returns_the_requested_number() -> None:
    assert len(catalogue.nearest("resnet", 7)) == len(set(catalogue.nearest("resnet", 7))) == 7
    assert catalogue.nearest("resnet18", 1) == ["resnet18"]


def test_search() -> None:
    assert catalogue.search() == list(catalogue.all())
    assert {row.name for row in catalogue.search("cifar WRN")} == {
        f"cifar/wrn_{d}_{w}" for d in (16, 40) for w in (1, 2)
    }
    assert [row.name for row in catalogue.search("cifar/", max_parameters=100_000)] == ["cifar/resnet8"]
    small = catalogue.search(family="mobilenetv3", max_macs=60_000_000, pretrained=True)
    assert "mobilenetv3_small_050" in {row.name for row in small}
    assert all(row.macs is not None and row.macs <= 60_000_000 and row.pretrained for row in small)
    assert not any(row.pretrained for row in catalogue.search("cifar/"))
