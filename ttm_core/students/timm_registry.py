from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._pretrained import DefaultCfg

from ttm_core.students.classifier import Classifier


class Design(NamedTuple):
    """A family and what sets one of its models apart."""

    family: type[Classifier]
    arguments: tuple[Any, ...] = ()


Designs = Mapping[str, Design]


def timm_name(name: str) -> str:
    """The name under which `timm.create_model` knows a model: `cifar/resnet20` is `cifar_resnet20` there."""
    folder, slash, model = name.partition("/")
    return f"{folder}_{model}" if slash and folder in ("cifar", "mini") else name


def configurations(folder: str, designs: Designs, **common: Any) -> dict[str, DefaultCfg]:
    """What timm tells of each model: `common` (input size, mean, std, classes), its first and its last layer.

    timm reads it from the global `default_cfgs` of the module that `register` is given.
    """
    return generate_default_cfgs(
        {
            timm_name(f"{folder}/{name}"): {
                "first_conv": design.family.first_conv,
                "classifier": design.family.classifier_name,
                **common,
            }
            for name, design in designs.items()
        }
    )


def register(module: str, folder: str, designs: Designs) -> None:
    """Enters each model in timm's registry, as if `module` were one of timm's own."""
    for name, design in designs.items():
        register_model(_entrypoint(module, timm_name(f"{folder}/{name}"), design))


def _entrypoint(module: str, name: str, design: Design) -> Callable[..., Classifier]:
    def create(pretrained: bool = False, **options: Any) -> Classifier:
        build = partial(design.family, *design.arguments)
        # timm writes into feature_cfg: a fresh one for each call.
        return build_model_with_cfg(build, name, pretrained, feature_cfg={"feature_cls": "getter"}, **options)

    create.__module__, create.__name__ = module, name
    return create
