"""Recognizes foreign checkpoints by the names and shapes of their tensors. Torch-free."""
