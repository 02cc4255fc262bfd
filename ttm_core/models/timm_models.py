"""Names of models in timm's registry, and the registration of the project's models."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from timm.models import build_model_with_cfg, generate_default_cfgs, get_pretrained_cfg, register_model
from timm.models._pretrained import DefaultCfg

from ttm_core.models.cifar.classifier import Classifier


class Design(NamedTuple):
    """A model class and its arguments."""

    family: type[Classifier]
    arguments: tuple[Any, ...] = ()


Designs = Mapping[str, Design]


def timm_name(name: str) -> str:
    """The name of a model in timm's registry: `cifar/resnet20` is `cifar_resnet20`."""
    folder, slash, model = name.partition("/")
    return f"{folder}_{model}" if slash and folder in ("cifar", "mini", "torchvision") else name


def has_fixed_size(architecture: str) -> bool:
    """Whether a model takes images of one size only, which is chosen when it is created."""
    configuration = get_pretrained_cfg(timm_name(architecture))
    return configuration is not None and bool(configuration.fixed_input_size)


def configurations(folder: str, designs: Designs, **common: Any) -> dict[str, DefaultCfg]:
    """timm's default configuration of each model: `common` (input size, mean, std, classes), first and last layer.

    timm reads it from the global `default_cfgs` of the module passed to `register`.
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
    """Registers each model with timm as a model of `module`."""
    for name, design in designs.items():
        register_model(_entrypoint(module, timm_name(f"{folder}/{name}"), design))


def _entrypoint(module: str, name: str, design: Design) -> Callable[..., Classifier]:
    def create(pretrained: bool = False, **options: Any) -> Classifier:
        build = partial(design.family, *design.arguments)
        # timm modifies feature_cfg, so every call needs a new one.
        return build_model_with_cfg(build, name, pretrained, feature_cfg={"feature_cls": "getter"}, **options)

    create.__module__, create.__name__ = module, name
    return create
