"""Comparisons in words."""

from collections.abc import Sequence

from api.comparisons.schemas import ComparedGroup
from api.studies.schemas import Difference
from api.words import listed


def difference_text(difference: Difference | None) -> str:
    """A difference in accuracy with its interval, or that none is shown."""
    if difference is None:
        return "not compared"
    what = "runs, paired t" if difference.method == "paired_t" else "images, paired bootstrap"
    interval = f"95 % interval {100 * difference.low:+.2f} to {100 * difference.high:+.2f}; {difference.count} {what}"
    if not difference.shown:
        return f"no difference shown ({interval})"
    return f"{100 * difference.mean:+.2f} points ({interval})"


def verdict(groups: Sequence[ComparedGroup], baseline: int | None) -> str:
    """One sentence: which group is the most accurate, and whether a difference from the others is shown."""
    ranked = sorted((group for group in groups if group.mean is not None), key=lambda group: -(group.mean or 0.0))
    if baseline is None or not ranked:
        return "These jobs cannot be ranked."
    if len(groups) == 1:
        return f"{groups[0].label} is the only group: these jobs differ at most in their seed."
    if len(ranked) == 1:
        return f"Only {ranked[0].label} has an accuracy yet."
    chosen = groups[baseline]
    if chosen is not ranked[0]:
        better = [group.label for group in ranked if group.difference is not None and group.difference.low > 0]
        if better:
            return f"More accurate than {chosen.label}: {listed(better)}."
        return f"No group is shown to be more accurate than {chosen.label}."
    name, others = chosen.label, ranked[1:]
    equal = [group.label for group in others if group.difference is not None and not group.difference.shown]
    unknown = [group.label for group in others if group.difference is None]
    if equal:
        return f"{name} has the highest accuracy, but no difference from {listed(equal)} is shown."
    if unknown:
        return f"{name} has the highest accuracy; its difference from {listed(unknown)} has no interval."
    following = others[0]
    return f"{name} is the most accurate. {following.label}, the next, is at {difference_text(following.difference)}."
