"""The base class of the CIFAR models."""

from collections.abc import Sequence
from typing import ClassVar, Literal, TypedDict, overload

from timm.models._features import feature_take_indices
from torch import Tensor, nn


class FeatureInfo(TypedDict):
    """timm's description of a feature map: channels, stride relative to the image, and the module that returns it."""

    num_chs: int
    reduction: int
    module: str


class Classifier(nn.Module):
    """A sequence of modules, global average pooling and a linear classifier, with timm's model interface.

    Published checkpoints determine the module names of each family. Subclasses define `body`, `first_conv` and
    `classifier_name`, and set `num_features` and `feature_info`.
    """

    body: Sequence[str]
    first_conv: ClassVar[str]
    classifier_name: ClassVar[str]
    num_features: int
    feature_info: list[FeatureInfo]

    def __init__(self, *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans

    @property
    def head_hidden_size(self) -> int:
        """Width of `forward_head(..., pre_logits=True)`."""
        return self.num_features

    def forward_features(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] images -> [B, num_features, h, w], the input of the global average."""
        for name in self.body:
            x = self.get_submodule(name)(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """[B, num_features, h, w] -> [B, num_classes] logits, or [B, num_features] with `pre_logits`."""
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.get_classifier()(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] images -> [B, num_classes] logits."""
        return self.forward_head(self.forward_features(x))

    @overload
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = ...,
        norm: bool = ...,
        stop_early: bool = ...,
        output_fmt: str = ...,
        intermediates_only: Literal[False] = ...,
    ) -> tuple[Tensor, list[Tensor]]: ...

    @overload
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = ...,
        norm: bool = ...,
        stop_early: bool = ...,
        output_fmt: str = ...,
        *,
        intermediates_only: Literal[True],
    ) -> list[Tensor]: ...

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> tuple[Tensor, list[Tensor]] | list[Tensor]:
        """The feature maps listed in `feature_info`, with the arguments of timm's models.

        Args:
            x: [B, in_chans, H, W] images.
            indices: the feature maps to return: the last n for a number, all for None.
            norm: ignored; no model has a separate norm for feature maps.
            stop_early: stop after the last requested feature map.
            output_fmt: NCHW is the only supported layout.
            intermediates_only: return only the feature maps.

        Returns:
            The final features and the feature maps [B, num_chs, h, w], or only the feature maps.

        Raises:
            ValueError: `output_fmt` is not NCHW.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}; only NCHW is supported")
        taken, last = feature_take_indices(len(self.feature_info), indices)
        modules = {self.feature_info[index]["module"] for index in taken}
        maps = []
        for name in self.body:
            x = self.get_submodule(name)(x)
            if name in modules:
                maps.append(x)
            if stop_early and name == self.feature_info[last]["module"]:
                break
        return maps if intermediates_only else (x, maps)

    def get_classifier(self) -> nn.Module:
        """The linear layer, or an identity for a model created with `num_classes=0`."""
        return self.get_submodule(self.classifier_name)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the classifier by a new one on the same device; with 0 classes the model returns pooled features.

        Raises:
            ValueError: `global_pool` is not the average.
        """
        if global_pool not in (None, "avg"):
            raise ValueError(f"global_pool is {global_pool!r}; only the average is supported")
        parameter = next(self.parameters())
        self.num_classes = num_classes
        self.set_submodule(self.classifier_name, linear(self.num_features, num_classes).to(parameter))


def linear(num_features: int, num_classes: int) -> nn.Module:
    """The classifier layer; an identity for 0 classes, as in timm."""
    return nn.Linear(num_features, num_classes) if num_classes else nn.Identity()


def initialize_convolutions(model: nn.Module) -> None:
    """Normal weights of variance 2 / (kernel area * output channels), biases 0.

    Source: He et al., "Delving Deep into Rectifiers", 2015, arXiv 1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_narrow(classifier: nn.Module) -> None:
    """Normal weights of standard deviation 0.01 and biases 0, for the classifiers of VGG and MobileNetV2."""
    if isinstance(classifier, nn.Linear):
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)
