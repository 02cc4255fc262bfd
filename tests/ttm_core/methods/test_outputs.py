"""Features come from one forward pass that does not change the logits."""

import pytest
import torch

from tests.support.models import create_model
from ttm_core.errors import BadSpec
from ttm_core.methods.outputs import outputs, probe
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import SelectClasses
from ttm_core.spec.job import Normalization


def preprocess(size):
    return Preprocess(3, size, Normalization(mean=[0.5] * 3, std=[0.5] * 3))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cifar/resnet8", 32),
        ("cifar/vgg8", 32),
        ("cifar/MobileNetV2", 32),
        ("cifar/ShuffleV1", 32),
        ("cifar/ShuffleV2", 32),
        ("cifar/wrn_16_1", 32),
        ("resnet18", 64),
        ("mobilenetv3_small_050", 64),
        ("mobilenetv1_100", 64),
        ("efficientnet_b0", 64),
        ("convnext_atto", 64),
        ("vit_tiny_patch16_224", 64),
        ("deit3_small_patch16_224", 64),
        ("deit_tiny_distilled_patch16_224", 64),
        ("resnetv2_50x1_bit", 64),
    ],
)
def test_pooled_features(name, size):
    torch.manual_seed(0)
    model = create_model(name, num_classes=7, image_size=size)
    found = probe(model, preprocess(size), "pooled", name)
    assert found.features[0].shape == (2, model.head_hidden_size)
    assert model.training


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit3_small_patch16_224", "deit_tiny_patch16_224", "cait_xxs24_224"]
)
def test_tokens(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=7, image_size=64).eval()
    found = probe(model, preprocess(64), "tokens", name)
    assert [feature.shape[:2] for feature in found.features] == [(2, 16)] * 3
    x = torch.randn(2, 3, 64, 64)
    final = model.forward_features(x)
    torch.testing.assert_close(outputs(model, x, "tokens").features[-1], final[:, -16:])


def test_head_runs_dropout_and_statistics_once():
    """Batch norms process the batch once for any combination of outputs."""
    torch.manual_seed(0)
    model = create_model("cifar/resnet8", num_classes=7)
    x = torch.randn(4, 3, 32, 32)
    plain = outputs(model, x, "none")
    pooled = outputs(model, x, "pooled")
    torch.testing.assert_close(pooled.logits, plain.logits)
    assert model.bn1.num_batches_tracked == 2


@pytest.mark.parametrize("wanted", ["pooled", "tokens"])
def test_class_map_does_not_change_features(wanted):
    torch.manual_seed(0)
    model = create_model("vit_tiny_patch16_224", num_classes=7, image_size=64).eval()
    few = SelectClasses(model, [6, 0, 2])
    x = torch.randn(2, 3, 64, 64)
    own, selected = outputs(model, x, wanted), outputs(few, x, wanted)
    torch.testing.assert_close(selected.logits, own.logits[:, [6, 0, 2]])
    torch.testing.assert_close(selected.features[-1], own.features[-1])
    assert probe(few, preprocess(64), wanted, "vit").logits.shape == (2, 3)


@pytest.mark.parametrize(("name", "wanted"), [("cifar/resnet8", "tokens"), ("volo_d1_224", "pooled")])
def test_model_without_features_is_refused(name, wanted):
    size = 32 if name.startswith("cifar") else 224
    with pytest.raises(BadSpec, match=f"{name} does not support {wanted} features"):
        probe(create_model(name, num_classes=7), preprocess(size), wanted, name)
