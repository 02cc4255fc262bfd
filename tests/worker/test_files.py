import errno
import hashlib
import io
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.factories import running
from tests.support.rig import Rig
from ttm_jobs.errors import ChecksumMismatch
from worker.files import inside, is_full_disk, write_atomically
from worker.trainer.log import LogFile
from worker.trainer.stale import attempt_directory, remove_attempt, remove_stale_directories


def test_file_is_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, iter([b"a", b"b"]), hashlib.sha256(b"ab").hexdigest())
    assert path.read_bytes() == b"ab"
    with pytest.raises(ChecksumMismatch):
        write_atomically(path, iter([b"x"]), hashlib.sha256(b"y").hexdigest())
    assert path.read_bytes() == b"ab"
    assert list(path.parent.iterdir()) == [path]


def test_path_outside_the_work_directory_is_rejected(tmp_path: Path) -> None:
    assert inside(tmp_path, "out/../out/student") == tmp_path / "out" / "student"
    for path in ("..", "../x", "/etc/passwd", "out/../../x"):
        with pytest.raises(ValueError, match="outside the work directory"):
            inside(tmp_path, path)


def test_full_disk_is_recognized_by_errno() -> None:
    assert is_full_disk(OSError(errno.ENOSPC, "full"))
    assert is_full_disk(OSError(errno.EDQUOT, "quota"))
    assert is_full_disk(OSError(errno.EFBIG, "ulimit -f"))
    assert not is_full_disk(OSError(errno.EACCES, "no"))


def test_log_keeps_its_newest_part(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", 1000)
    log.copy(io.BufferedReader(io.BytesIO(b"short")))
    assert list(log.read()) == [b"short"]
    for number in range(100):
        log.copy(io.BufferedReader(io.BytesIO(b"%99d\n" % number)))
    kept = b"".join(log.read()).split()
    assert kept == [b"%d" % number for number in range(100 - len(kept), 100)]
    assert 5 <= len(kept) <= 10


def test_stale_work_directories_are_removed(rig: Rig, engine: Engine) -> None:
    lease = running(engine)
    work_dir = rig.settings.work_dir
    held = attempt_directory(work_dir, lease.job_id, lease.epoch)
    old = attempt_directory(work_dir, lease.job_id, 0)
    unknown = attempt_directory(work_dir, "no-such-job", 1)
    for directory in (held, old, unknown):
        (directory / "cache").mkdir(parents=True)
    remove_stale_directories(engine, work_dir)
    assert held.exists()
    assert not old.exists()
    assert not unknown.parent.exists()
    remove_attempt(held)
    assert list((work_dir / "attempts").iterdir()) == []
    remove_attempt(held)
