"""Augmented views of images."""

from ttm_core.data.views.views import PreparedViews, Views

__all__ = ["PreparedViews", "Views"]
