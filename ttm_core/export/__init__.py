"""Saving, exporting and loading students."""

from ttm_core.export.student import Student, load_student, save_student

__all__ = ["Student", "load_student", "save_student"]
