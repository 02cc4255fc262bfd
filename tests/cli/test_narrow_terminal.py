"""The live view of a job on a terminal of 80 columns."""

from rich.console import Console

from ttm_client.cli.jobs.watch import LiveView


def test_bar_and_numbers_fit_80_columns() -> None:
    view = LiveView()
    view._numbers = {"left": "1:23:45", "loss": "1.2038", "top-1": "70.81%", "teacher": "72.34%", "images/s": "881"}
    view._bar.update(view._task, description="succeeded", completed=60, total=120)
    view._bar.update(view._task, numbers="  ".join(f"{name} {value}" for name, value in view._numbers.items()))
    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as shown:
        console.print(view._bar.get_renderable())
    (line,) = shown.get().splitlines()
    assert 4 <= line.count("━") + line.count("╸") <= 16, line
    for text in ("left 1:23:45", "loss 1.2038", "top-1 70.81%"):
        assert text in line
