"""The section of a study: its candidates, its recommendation and what it cost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.results.page.sentences import origin
from bench.results.page.text import wrapped

_BEFORE = """\
A study of the same data and teacher: the {goal} student that keeps {retention:.0f} % of the teacher's validation
accuracy in at most {bytes:,} bytes, with {epochs} epochs of wttm and {seeds} seeds for each finalist. Validation
accuracy chooses, on 500 photographs. Candidates that cannot meet the limit on size are not trained; after {rungs}, the
best third and the front of size and accuracy continue."""


def study_section(path: Path) -> str:
    """Heading, text, table of candidates, recommendation and origin; empty without the study's record."""
    if not path.exists():
        return ""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    limits = record["limits"]
    before = _BEFORE.format(
        goal=record["goal"].replace("_", " "),
        retention=100 * limits["retention"],
        bytes=int(limits["bytes"]),
        epochs=record["epochs"],
        seeds=record["seeds"],
        rungs=f"epoch{'s' * (len(record['rungs']) > 1)} {' and '.join(str(rung['epoch']) for rung in record['rungs'])}",
    )
    parts = ["## A study\n", wrapped(before), _table(record), wrapped(_recommended(record)), wrapped(_cost(record))]
    return "\n".join([*parts, origin(record)]) + "\n"


def _table(record: Mapping[str, Any]) -> str:
    rung = record["rungs"][0] if record["rungs"] else None
    chosen = record["result"]["recommendation"]["candidate"]
    finals = {option["candidate"]: option for option in record["result"]["options"]}
    epoch = f"validation after epoch {rung['epoch']}" if rung else "validation"
    lines = [f"| candidate | bytes | {epoch} | test | n | |", "|---|---|---|---|---|---|"]
    for each in record["candidates"]:
        number = each["number"]
        size = next((file["bytes"] for file in each["files"] if file["precision"] == "fp32"), None)
        early = rung["accuracies"].get(str(number)) if rung else None
        final = finals.get(number)
        rejected = each["rejected"]["reason"] if each["rejected"] else ""
        if final is None and number in record["finalists"]:
            rejected = "trained to the end, but no exported file meets the limit on size; now rejected at the screen"
        cells = [
            f"`{each['label']}`",
            "-" if size is None else f"{size:,}",
            "-" if early is None else f"{100 * early:.1f}",
            "-" if final is None or final["test"] is None else f"{100 * final['test']:.2f}",
            "-" if final is None else str(final["runs"]),
            "recommended" if number == chosen else rejected,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _recommended(record: Mapping[str, Any]) -> str:
    found, labels = record["result"]["recommendation"], {each["number"]: each for each in record["candidates"]}
    met = "meets" if found["meets_limits"] else "comes closest to"
    parts = [
        f"`{labels[found['candidate']]['label']}` {met} the limits: it keeps {100 * found['retention']:.1f} % of the "
        f"teacher's validation accuracy."
    ]
    parts += [
        f"{_difference(each['difference'])} `{labels[each['candidate']]['label']}`."
        for each in found["comparisons"]
        if each["difference"] is not None
    ]
    baseline = record["result"]["baseline"]["difference"]
    if baseline is not None:
        parts.append(f"{_difference(baseline)} the same student trained on the labels alone.")
    return " ".join(parts)


def _difference(found: Mapping[str, Any]) -> str:
    interval = f"{100 * found['mean']:+.2f} [{100 * found['low']:+.2f}, {100 * found['high']:+.2f}] points"
    how = f"{found['method'].replace('_', ' ')}, n = {found['count']}"
    if not found["shown"]:
        return f"No difference in test accuracy is shown ({interval}; {how}) from"
    return f"Its test accuracy differs by {interval} ({how}) from that of"


def _cost(record: Mapping[str, Any]) -> str:
    costs = record["result"]["costs"]
    spent = "" if record["cpu_seconds"] is None else f", {record['cpu_seconds'] / 60:.0f} CPU-minutes"
    replay = "gives the same decisions" if record["replay_agrees"] else "gives other decisions"
    return (
        f"The study trained {costs['epochs_trained']} epochs{spent}, and not {costs['epochs_saved']} further epochs "
        f"that training every candidate to the end once would take. The teacher ran on {costs['teacher_forwards']:,} "
        f"images; {costs['teacher_cache_hits']:,} times its stored logits were read. Replaying the study {replay}."
    )
