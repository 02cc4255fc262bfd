"""Starting a student from weights that exist."""

from pathlib import Path

from torch import nn

from ttm_core.errors import ArchitectureMismatch
from ttm_core.weights import read_weights


def start_from(model: nn.Module, path: Path, architecture: str) -> list[str]:
    """Copy a checkpoint's weights into the model; only the classifier may be missing or of another size.

    Returns the keys that keep their fresh values. Raises ArchitectureMismatch for anything else that does not fit.
    """
    found = read_weights(path).tensors
    names = model.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr,operator]
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    expected = model.state_dict()
    fitting = {key: value for key, value in found.items() if key in expected and expected[key].shape == value.shape}
    fresh = [key for key in expected if key not in fitting]
    strangers = [key for key in [*fresh, *(key for key in found if key not in expected)] if not key.startswith(heads)]
    if strangers:
        raise ArchitectureMismatch(
            f"the student's checkpoint is not a {architecture}: {len(strangers)} keys are missing, unexpected or of "
            f"another shape: {', '.join(strangers[:5])}"
        )
    model.load_state_dict(fitting, strict=False)
    return fresh
