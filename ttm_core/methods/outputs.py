"""What a model says of a batch: its logits, and the features that a method asks for, through timm's own interface."""

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
    features: tuple[Tensor, ...] = ()  # pooled: one [B, D]; tokens: [B, N, D] of the first, the second, the last block


def outputs(model: nn.Module, x: Tensor, wanted: Features) -> Outputs:
    """Run a model once on its input [B, C, H, W]."""
    timm: Any = model  # the interface that every model of timm's and of ours has
    match wanted:
        case "none":
            return Outputs(model(x))
        case "pooled":
            maps = timm.forward_features(x)
            pooled = timm.forward_head(maps, pre_logits=True)
            classifier = timm.get_classifier()
            # A head may hold batch norms and dropout, which should run once where they can.
            logits = classifier(pooled) if isinstance(classifier, nn.Linear) else timm.forward_head(maps)
            return Outputs(logits, (pooled,))
        case "tokens":
            final, low = timm.forward_intermediates(x, indices=list(range(LOW_BLOCKS)), norm=False, output_fmt="NLC")
            return Outputs(timm.forward_head(final), (*low, final[:, timm.num_prefix_tokens :]))
        case _:
            assert_never(wanted)


@torch.no_grad()
def probe(model: nn.Module, preprocess: Preprocess, wanted: Features, name: str) -> Outputs:
    """The shapes of a model's outputs, for a batch of two. Raises BadSpec where its features cannot be taken.

    Models differ in what stands between their features and their logits: only those are accepted whose logits follow
    from the features here as they do in an ordinary forward pass.
    """
    was_training = model.training
    model.eval()
    side = preprocess.image_size
    device = next(model.parameters()).device
    x = torch.linspace(-1, 1, 2 * preprocess.channels * side * side, device=device)
    x = x.view(2, preprocess.channels, side, side)
    try:
        found = outputs(model, x, wanted)
        same = torch.allclose(found.logits, model(x), rtol=1e-3, atol=1e-3)
    except Exception as error:  # whatever one of timm's models raises where it lacks the interface
        raise BadSpec(f"{name} gives no {wanted} features: {error}".partition("\n")[0]) from error
    finally:
        model.train(was_training)
    dimensions = 2 if wanted == "pooled" else 3
    if not same or any(feature.ndim != dimensions for feature in found.features):
        raise BadSpec(f"{name} gives no {wanted} features: its logits do not follow from them alone")
    return found
