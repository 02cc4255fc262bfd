"""The names and shapes of the tensors of every architecture in the catalogue.

`python -m ttm_core.models.build_catalogue` writes `signatures.jsonl.xz`.
"""

import json
import lzma
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ttm_core.process import collection_paused

Shape = tuple[int, ...]

SIGNATURES = Path(__file__).with_name("signatures.jsonl.xz")
# Counters of batch norms. Files written before PyTorch 0.4.1 lack them.
COUNTER = "num_batches_tracked"
_SIZED = re.compile(
    r"(^|\.)(pos_embed(ding)?_?\d*|patch_pos|rel_pos_[hw]|relative_position_bias_table|attention_biases|(height|width)_rel)$"
    r"|\.(mlp|linear)_tokens\."
)


def depends_on_image_size(name: str) -> bool:
    """Whether the shape of a tensor depends on the image size of its model, such as a position embedding's."""
    return bool(_SIZED.search(name))


@dataclass(frozen=True)
class Signature:
    """The tensors of an architecture: shapes by name in the order of the state dict, without counters."""

    architecture: str
    shapes: Mapping[str, Shape]
    classifier: str | None = None
    """Module whose first dimension is the number of classes."""
    other_classifiers: tuple[str, ...] = ()
    """Further modules with the same number of classes, such as a classifier that learned from a teacher."""
    first_conv: str | None = None
    """Module whose second dimension is the number of channels of the image."""
    ignored: tuple[str, ...] = field(default=())
    """Prefixes of tensors that files may have in addition."""

    @property
    def classifiers(self) -> tuple[str, ...]:
        """All modules whose first dimension is the number of classes."""
        return () if self.classifier is None else (self.classifier, *self.other_classifiers)

    def fits(self, name: str, shape: Shape) -> bool:
        """Returns whether a file's tensor fits, with any number of classes and image channels."""
        expected = self.shapes.get(name)
        if expected is None or len(expected) != len(shape):
            return False
        free = self.free_dimension(name)
        return all(free == index or a == b for index, (a, b) in enumerate(zip(expected, shape, strict=True)))

    def free_dimension(self, name: str) -> int | None:
        """The dimension of a tensor that depends on the number of classes or image channels."""
        module, _, leaf = name.rpartition(".")
        if module in self.classifiers:
            return 0
        return 1 if module == self.first_conv and leaf == "weight" else None

    def fixed_shapes(self) -> Counter[Shape]:
        """Counts the shapes of the tensors without a free dimension."""
        counts = Counter(self.shapes.values())
        # Only the few tensors of these modules can have one.
        ends = tuple(f"{module}." for module in (*self.classifiers, self.first_conv) if module is not None)
        for name in self.shapes:
            if name.startswith(ends) and self.free_dimension(name) is not None:
                counts[self.shapes[name]] -= 1
        return counts


def encode(signature: Signature) -> str:
    """One line of the file."""
    shapes = [[name, list(shape)] for name, shape in signature.shapes.items()]
    classifiers = list(signature.classifiers) if signature.other_classifiers else signature.classifier
    ends = [classifiers, signature.first_conv, list(signature.ignored)]
    return json.dumps([signature.architecture, *ends, shapes], separators=(",", ":"))


def read_signatures() -> list[Signature]:
    """The signatures in the order of the catalogue. Takes a quarter of a second."""
    with lzma.open(SIGNATURES, "rt", encoding="utf-8") as stream, collection_paused():
        return [_decode(line) for line in stream]


def _decode(line: str) -> Signature:
    architecture, classifier, first_conv, ignored, shapes = json.loads(line)
    by_name = {name: tuple(shape) for name, shape in shapes}
    first, *others = classifier if isinstance(classifier, list) else [classifier]
    return Signature(architecture, by_name, first, tuple(others), first_conv, tuple(ignored))
