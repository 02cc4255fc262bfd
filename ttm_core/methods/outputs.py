"""The outputs of a model for a batch: logits, and features through timm's model interface."""

from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from ttm_core.errors import BadSpec
from ttm_core.losses.features.vitkd import LOW_BLOCKS
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.method.requirements import Features


@dataclass(frozen=True)
class Outputs:
    """Logits and features of one forward pass."""

    logits: Tensor  # [B, C]
    features: tuple[Tensor, ...] = ()  # pooled: one [B, D]; tokens: [B, N, D] of the first, second and last block


def outputs(model: nn.Module, x: Tensor, features: Features) -> Outputs:
    """Runs a model once on its input [B, C, H, W]."""
    timm: Any = model  # the interface of all timm models and the project's models
    match features:
        case "none":
            return Outputs(model(x))
        case "pooled":
            maps = timm.forward_features(x)
            pooled = timm.forward_head(maps, pre_logits=True)
            classifier = timm.get_classifier()
            # Runs the batch norms and dropout of the head once if the classifier is linear.
            logits = classifier(pooled) if isinstance(classifier, nn.Linear) else timm.forward_head(maps)
            return Outputs(logits, (pooled,))
        case "tokens":
            final, low = timm.forward_intermediates(x, indices=list(range(LOW_BLOCKS)), norm=False, output_fmt="NLC")
            return Outputs(timm.forward_head(final), (*low, final[:, timm.num_prefix_tokens :]))
        case _:
            assert_never(features)


@torch.no_grad()
def probe(model: nn.Module, preprocess: Preprocess, features: Features, name: str) -> Outputs:
    """Runs a model on a batch of two images to determine the shapes of its outputs.

    Raises:
        BadSpec: the model has no such features, or its logits do not follow from them as in an ordinary forward pass.
    """
    was_training = model.training
    model.eval()
    side = preprocess.image_size
    device = next(model.parameters()).device
    x = torch.linspace(-1, 1, 2 * preprocess.channels * side * side, device=device)
    x = x.view(2, preprocess.channels, side, side)
    try:
        found = outputs(model, x, features)
        same = torch.allclose(found.logits, model(x), rtol=1e-3, atol=1e-3)
    except Exception as error:  # timm models without the interface raise exceptions of any type
        raise BadSpec(f"{name} does not support {features} features: {error}".partition("\n")[0]) from error
    finally:
        model.train(was_training)
    dimensions = 2 if features == "pooled" else 3
    if not same or any(feature.ndim != dimensions for feature in found.features):
        raise BadSpec(f"{name} does not support {features} features: its logits depend on more than these features.")
    return found
