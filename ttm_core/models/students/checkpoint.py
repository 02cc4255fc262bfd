"""Initial weights from a checkpoint."""

from pathlib import Path

from torch import nn

from ttm_core.checkpoints.key_map import known_renames
from ttm_core.checkpoints.signatures import depends_on_image_size
from ttm_core.errors import ArchitectureMismatch
from ttm_core.models.teachers.adapt import signature_of
from ttm_core.models.weights import describe_mismatch, read_weights, with_batch_counters


def initialize_from(model: nn.Module, path: Path, architecture: str, key: str | None = None) -> list[str]:
    """Copies the weights of a checkpoint into the model. Only the classifier may be missing or of another size.

    Args:
        model: the student.
        path: the checkpoint.
        architecture: of the student.
        key: `student.checkpoint_key`, for a checkpoint with several models.

    Returns the keys that keep their initial values.

    Raises:
        ArchitectureMismatch: any other tensor is missing, unexpected or of another shape.
    """
    signature = signature_of(model, architecture)
    weights = read_weights(path, key=key, signature=signature, needs_classifier=False)
    renamed = known_renames(weights.tensors, signature)
    tensors = with_batch_counters(model, {renamed[name]: tensor for name, tensor in weights.tensors.items()})
    names = model.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr,operator]
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    expected = model.state_dict()
    fitting = {key: value for key, value in tensors.items() if key in expected and expected[key].shape == value.shape}
    fresh = [key for key in expected if key not in fitting]
    unexpected = [key for key in tensors if key not in expected]
    others = [key for key in (*fresh, *unexpected) if not key.startswith(heads)]
    if others:
        without_heads = {key: value for key, value in tensors.items() if not key.startswith(heads)}
        kept = {key: value for key, value in expected.items() if key.startswith(heads)}
        mismatch = describe_mismatch(model, without_heads | kept)
        sized = all(depends_on_image_size(key) for key in others)
        hint = ". Set student.image_size to the size that it was trained with." if sized else ""
        raise ArchitectureMismatch(f"student.checkpoint is not a {architecture}: {mismatch}{hint}")
    model.load_state_dict(fitting, strict=False)
    return fresh
