"""A runner in the test's process, with the tiny trainer as a real process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread

from sqlalchemy import Engine

from tests.support.tiny import TINY_TRAINER
from ttm_jobs.database.ids import new_id
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from worker.run.runner import Runner
from worker.trainer import stale
from worker.trainer.starter import Starter


@dataclass
class Rig:
    """One worker without Celery. `reported` lists the job ids that the runner reported as current, `errors` the errors
    of its claims and attempts.
    """

    settings: Settings
    engine: Engine
    storage: Storage
    trainer_command: Sequence[str] = TINY_TRAINER
    worker_id: str = field(default_factory=new_id)
    draining: Event = field(default_factory=Event)
    reported: list[str | None] = field(default_factory=list)
    errors: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runner = Runner(
            self.settings,
            self.engine,
            self.storage,
            worker_id=self.worker_id,
            starter=Starter(self.trainer_command, marks=stale.marks(), settings=self.settings),
            draining=self.draining,
            leave=self.draining.set,
            on_job=self.reported.append,
            on_error=self.errors.append,
        )

    def run(self, job_id: str) -> None:
        assert job_id
        self.runner.run()

    def start(self, job_id: str) -> Thread:
        """Runs the job in a background thread."""
        thread = Thread(target=self.run, args=[job_id], daemon=True)
        thread.start()
        return thread

    def read(self, key: str) -> bytes:
        return b"".join(self.storage.open(key))


MakeRig = Callable[..., Rig]
