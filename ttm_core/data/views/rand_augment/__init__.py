"""RandAugment, Cubuk et al. 2020 (arXiv 1909.13719): random operations of equal magnitude for each view."""

from ttm_core.data.views.rand_augment.layers import Layer, draw_layers

__all__ = ["Layer", "draw_layers"]
