"""Augmented views of images."""

from ttm_core.data.views.views import Views

__all__ = ["Views"]
