"""Writes docs/results.md from docs/results/."""
