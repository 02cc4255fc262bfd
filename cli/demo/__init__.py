"""`ttm demo`: the product's main job on real data, from nothing to a student in one's hands."""

from cli.demo.command import demo

__all__ = ["demo"]
