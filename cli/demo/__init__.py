"""`ttm demo`: distillation on real data through the REST API."""

from cli.demo.command import demo

__all__ = ["demo"]
