"""Optimizers: options, weight decay and bit-identical resuming."""

import io

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from timm.optim import list_optimizers, param_groups_layer_decay
from timm.optim._optim_factory import default_registry
from torch.nn import functional

from tests.support.models import create_model
from ttm_core.spec.optimizer.optimizers import EmaSpec, GradientClipping, OptimizerSpec, Timm
from ttm_core.spec.optimizer.timm_names import TIMM_OPTIMIZERS
from ttm_core.training.optimizers import build_ema, build_optimizer, clip_gradients, set_learning_rate

OPTIMIZER: TypeAdapter[OptimizerSpec] = TypeAdapter(OptimizerSpec)
ELSEWHERE = ("bnb", "fused", "adahessian", "kron")
X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def student():
    torch.manual_seed(0)
    return create_model("mini/resnet8_025", num_classes=4)


def descend(model, optimizer, steps):
    for step in range(steps):
        functional.cross_entropy(model(X + step), torch.arange(8) % 4).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_optimizer_names_match_timm():
    assert list(TIMM_OPTIMIZERS) == [name for name in list_optimizers() if not name.startswith(ELSEWHERE)]


def test_optimizer_options_match_timm():
    for name, takes in TIMM_OPTIMIZERS.items():
        info = default_registry.get_optimizer_info(name)
        betas = {2: "betas", 3: "betas3"}[info.num_betas]
        options = {"momentum": info.has_momentum, betas: info.has_betas, "epsilon": info.has_eps}
        assert takes == tuple(option for option, has in options.items() if has), name


@pytest.mark.parametrize("name", TIMM_OPTIMIZERS)
def test_timm_optimizers_accept_options_and_resume_bit_identically(name):
    takes = TIMM_OPTIMIZERS[name]
    values = {"momentum": 0.8, "betas": [0.8, 0.95], "betas3": [0.9, 0.9, 0.95], "epsilon": 1e-7}
    options = {option.rstrip("3"): values[option] for option in takes}
    spec = Timm(algorithm=name, learning_rate=0.01, weight_decay=0.01, **options)
    whole = student()
    optimizer = build_optimizer(spec, whole)
    descend(whole, optimizer, 2)
    saved = io.BytesIO()
    torch.save({"model": whole.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    descend(whole, optimizer, 2)

    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    resumed = student()
    again = build_optimizer(spec, resumed)
    resumed.load_state_dict(state["model"])
    again.load_state_dict(state["optimizer"])
    descend(resumed, again, 2)
    fresh = student().state_dict()
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key])
    assert not torch.equal(fresh["conv1.weight"], whole.conv1.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "lam"}, "did you mean .*lamb"),
        ({"algorithm": "bnbadam"}, "unsupported timm optimizer 'bnbadam'"),
        ({"algorithm": "adam", "momentum": 0.9}, "adam has no option momentum"),
        ({"algorithm": "sgd", "betas": [0.9, 0.99]}, "sgd has no option betas"),
        ({"algorithm": "adan", "betas": [0.9, 0.99]}, "adan requires 3 betas"),
        ({"algorithm": "lion", "epsilon": 1e-8}, "lion has no option epsilon"),
    ],
)
def test_unsupported_optimizer_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        OPTIMIZER.validate_python({"name": "timm", **options})


def test_weight_decay_excludes_biases_norms_and_parameters_named_by_the_model():
    model = create_model("test_vit", num_classes=4)
    decayed, excluded = {}, {}
    optimizer = build_optimizer(Timm(algorithm="adamw", weight_decay=0.1), model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            (decayed if group["weight_decay"] else excluded)[names[id(parameter)]] = parameter
    assert {"pos_embed", "cls_token", "head.bias", "norm.weight"} <= set(excluded)
    assert "head.weight" in decayed
    every = build_optimizer(Timm(algorithm="adamw", weight_decay=0.1, decay_biases_and_norms=True), model)
    assert all(group["weight_decay"] == 0.1 for group in every.param_groups)


def test_frozen_parameters_are_not_optimized():
    model = student()
    model.conv1.requires_grad_(False)
    for options in ({"name": "sgd", "learning_rate": 0.1}, {"name": "adamw"}, {"name": "timm", "algorithm": "lamb"}):
        groups = build_optimizer(OPTIMIZER.validate_python(options), model).param_groups
        held = {id(parameter) for group in groups for parameter in group["params"]}
        assert held == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


@pytest.mark.parametrize("architecture", ["mini/resnet8_025", "test_vit"])
@pytest.mark.parametrize(
    "options", [{"name": "sgd", "learning_rate": 0.1}, {"name": "adamw"}, {"name": "timm", "algorithm": "lamb"}]
)
def test_layer_decay_gives_each_layer_the_rate_of_timm(architecture, options):
    model, auxiliary = create_model(architecture, num_classes=4), torch.nn.Linear(3, 2)
    first = next(iter(model.parameters())).requires_grad_(False)
    optimizer = build_optimizer(OPTIMIZER.validate_python({**options, "layer_decay": 0.5}), model, auxiliary)
    set_learning_rate(optimizer, 0.2)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    reference = {
        id(parameter): 0.2 * group["lr_scale"]
        for group in param_groups_layer_decay(model, layer_decay=0.5)
        for parameter in group["params"]
    }
    assert rates == reference | {id(parameter): 0.2 for parameter in auxiliary.parameters()}
    assert id(first) not in rates
    classifier = model.get_classifier()
    assert rates[id(classifier.weight)] == 0.2
    assert min(rates.values()) < 0.2 / 4, "earlier layers have smaller rates"


@pytest.mark.parametrize("decay", [0, -0.5, 1.01])
def test_layer_decay_is_a_factor_up_to_1(decay):
    with pytest.raises(ValidationError, match="layer_decay"):
        OPTIMIZER.validate_python({"name": "sgd", "layer_decay": decay})


def gradients(kind, value):
    model, auxiliary = student(), torch.nn.Linear(3, 2)
    functional.cross_entropy(100 * model(X), torch.arange(8) % 4).backward()
    auxiliary(torch.ones(1, 3)).sum().backward()
    before = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    clip_gradients(GradientClipping(kind=kind, value=value), model, auxiliary)
    return model, auxiliary, before


def test_norm_clipping_uses_all_trained_parameters():
    model, auxiliary, before = gradients("norm", 0.5)
    every = [*model.parameters(), *auxiliary.parameters()]
    norm = torch.stack([parameter.grad.norm() for parameter in every]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-4)
    direction = model.fc.weight.grad / model.fc.weight.grad.norm()
    torch.testing.assert_close(direction, before["fc.weight"] / before["fc.weight"].norm())


def test_value_clipping_limits_each_element():
    model, auxiliary, before = gradients("value", 0.01)
    torch.testing.assert_close(model.fc.weight.grad, before["fc.weight"].clamp(-0.01, 0.01))
    assert auxiliary.weight.grad.max() <= 0.01


def test_adaptive_clipping_excludes_the_classifier():
    model, _, before = gradients("agc", 0.01)
    assert torch.equal(model.fc.weight.grad, before["fc.weight"])
    weight = model.layer1[0].conv1.weight
    bound = 0.01 * weight.flatten(1).norm(dim=1).clamp_min(1e-3)
    assert (weight.grad.flatten(1).norm(dim=1) <= bound * 1.001).all()
    assert (before["layer1.0.conv1.weight"].flatten(1).norm(dim=1) > bound).any()


def test_ema_averages_weights_and_statistics():
    model = student()
    average = build_ema(EmaSpec(decay=0.9, warmup=False), model)
    optimizer = build_optimizer(Timm(algorithm="sgd", learning_rate=0.1), model)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(3):
        descend(model, optimizer, 1)
        average.update_parameters(model)
        for name, tensor in model.state_dict().items():
            expected[name] = 0.9 * expected[name] + 0.1 * tensor if tensor.is_floating_point() else tensor.clone()
    for name, tensor in average.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not average.module.training
    assert model.training


def test_ema_warmup_follows_faster():
    slow, warm = (build_ema(EmaSpec(decay=0.999, warmup=warmup), student()) for warmup in (False, True))
    model = student()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    for average in (slow, warm):
        average.update_parameters(model)
    moved = [(average.module.fc.weight - student().fc.weight).mean().item() for average in (slow, warm)]
    assert moved == pytest.approx([0.001, 1 - 2 / 11], rel=1e-3)


def test_numbers_are_shorthand_for_specs():
    assert GradientClipping.model_validate(5) == GradientClipping(kind="norm", value=5)
    assert EmaSpec.model_validate(0.99) == EmaSpec(decay=0.99)
