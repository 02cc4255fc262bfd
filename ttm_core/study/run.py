"""run(): does what the options of a run ask for: train a student, screen students, or store the teacher's logits."""

from collections.abc import Callable
from pathlib import Path

from ttm_core.pipeline.context import open_context
from ttm_core.pipeline.distill import distill
from ttm_core.pipeline.inputs import Inputs
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.run_options import RunOptions
from ttm_core.study.screen import screen
from ttm_core.study.teacher_logits import store_teacher_logits
from ttm_core.teacher_store.store import Stores


def run(
    spec: DistillSpec,
    workdir: Path,
    *,
    inputs: Inputs | None,
    stores: Stores | None,
    on_event: Callable[[events.Event], None],
    should_stop: Callable[[], bool],
    options: RunOptions,
) -> None:
    """Runs a spec to its end; the last event is `finished` or `stage_finished`. Raises as `distill` does."""
    if options.kind == "distill":
        distill(
            spec, workdir, inputs=inputs, stores=stores, on_event=on_event, should_stop=should_stop, options=options
        )
        return
    with open_context(spec, workdir, inputs, stores, on_event, should_stop, options=options) as context:
        if options.kind == "screen":
            screen(spec, context)
        else:
            store_teacher_logits(spec, context)
