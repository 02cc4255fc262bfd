"""The layers of a model that lose channels together, found by Torch-Pruning.

Source: Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, arXiv 2301.12900.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def example_input(model: nn.Module, channels: int, image_size: int | None) -> Tensor:
    """Zeros [1, channels, H, W] on the model's device, at the architecture's default size for None."""
    configuration: Any = model.pretrained_cfg
    side: int = image_size or configuration["input_size"][1]
    return torch.zeros(1, channels, side, side, device=next(model.parameters()).device)


@contextmanager
def tracing(model: nn.Module) -> Iterator[None]:
    """Prepares a model for tracing, which follows gradients of a forward pass in evaluation mode."""
    training = model.training
    with torch.enable_grad(), warnings.catch_warnings():
        # Torch-Pruning warns about every parameter outside a layer, such as a class token, which it handles.
        warnings.simplefilter("ignore")
        yield
    model.train(training)


def fit_attention(model: nn.Module) -> None:
    """Sets the number of heads of attention layers after whole heads were removed from their weights."""
    for attention in _attentions(model):
        attention.num_heads = attention.qkv.out_features // (3 * attention.head_dim)
        if hasattr(attention, "attn_dim"):
            attention.attn_dim = attention.num_heads * attention.head_dim


def attention_heads(model: nn.Module) -> dict[nn.Module, int]:
    """The number of heads of each layer that computes queries, keys and values."""
    return {attention.qkv: attention.num_heads for attention in _attentions(model)}


def _attentions(model: nn.Module) -> Iterator[Any]:
    """timm's attention layers, with `qkv`, `num_heads` and `head_dim`."""
    for module in model.modules():
        if isinstance(getattr(module, "qkv", None), nn.Linear) and hasattr(module, "head_dim"):
            yield module


def classifiers(model: nn.Module) -> list[nn.Module]:
    """The last layers of a model: one, or two for distilled transformers."""
    return [model.get_submodule(name) for name in classifier_names(model)]


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """The names of the last layers of a model."""
    configuration: Any = model.pretrained_cfg
    names = configuration["classifier"]
    return (names,) if isinstance(names, str) else tuple(names)
