"""Compares a student with its teacher image by image: predictions, tables and thumbnails."""
