"""The data cache: folders are made once and atomically, and evicted only when they are not in use."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ttm_core.data.cache import DataCache, _fingerprint
from ttm_core.files.locks import FileLock


def fill(folder: Path) -> None:
    (folder / "file").write_bytes(os.urandom(100_000))


def names(root: Path) -> set[str]:
    return {entry.name for entry in root.iterdir() if entry.name != ".locks"}


def used(root: Path, name: str, seconds: int) -> None:
    os.utime(root / name, (seconds, seconds))


def test_a_folder_is_made_once(tmp_path):
    made = []
    for _ in range(2):
        with DataCache(tmp_path) as cache:
            folder = cache.folder("a", lambda folder: (made.append(folder), fill(folder)))
            assert (folder / "file").stat().st_size == 100_000
    assert len(made) == 1


def test_a_folder_that_another_process_made_and_keeps_is_returned(tmp_path):
    polls = []
    with FileLock(tmp_path, "a") as other:
        # Both have seen that there is no folder.
        other.acquire_shared()

        def other_makes_it() -> None:
            polls.append(1)
            assert len(polls) < 10, "the lock of the other process is waited for"
            (tmp_path / "a").mkdir(exist_ok=True)
            other.write_note(_fingerprint(tmp_path / "a"))

        with DataCache(tmp_path) as cache:
            assert cache.folder("a", fill, while_waiting=other_makes_it) == tmp_path / "a"
    assert polls


def _change(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, (1, 1))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "b" / "file").unlink(),
        lambda folder: os.truncate(folder / "file", 1000),
        lambda folder: _change(folder / "file"),
        lambda folder: (folder / "new").write_bytes(b"x"),
        lambda folder: (folder.parent / ".locks" / "a").unlink(),
    ],
    ids=["deleted", "truncated", "changed", "added", "without-a-note"],
)
def test_a_folder_that_changed_on_the_disk_is_made_again(tmp_path, caplog, damage):
    def make(folder: Path) -> None:
        made.append(folder)
        fill(folder)
        (folder / "b").mkdir()
        fill(folder / "b")

    made = []
    with DataCache(tmp_path) as cache:
        cache.folder("a", make)
    damage(tmp_path / "a")
    for _ in range(2):
        with DataCache(tmp_path) as cache:
            folder = cache.folder("a", make)
            assert [path.stat().st_size for path in (folder / "file", folder / "b" / "file")] == [100_000, 100_000]
            assert {path.name for path in folder.iterdir()} == {"file", "b"}
    assert len(made) == 2
    assert "has changed on the disk since it was made" in caplog.text
    assert names(tmp_path) == {"a"}


def test_a_changed_folder_is_made_again_when_no_other_job_uses_it(tmp_path, monkeypatch):
    monkeypatch.setattr("ttm_core.data.cache._CHANGED_POLLS", 1)
    user = DataCache(tmp_path)
    user.folder("a", fill)
    (tmp_path / "a" / "file").unlink()
    waited = []

    def wait() -> None:
        waited.append((tmp_path / "a" / "file").exists())
        if len(waited) == 3:
            user.close()

    with DataCache(tmp_path) as cache:
        assert (cache.folder("a", fill, while_waiting=wait) / "file").exists()
    assert waited == [False] * 3


def test_folders_that_many_need_at_once_are_made_once(tmp_path):
    made, caches = [], [DataCache(tmp_path) for _ in range(8)]
    start = threading.Barrier(len(caches))

    def get(cache: DataCache, name: str) -> None:
        start.wait()
        cache.folder(name, lambda folder: (made.append(name), fill(folder)))

    # Each keeps its folders, as a worker does while its job runs.
    for name in "abcdefgh":
        threads = [threading.Thread(target=get, args=(cache, name), daemon=True) for cache in caches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert made == list("abcdefgh")
    for cache in caches:
        cache.close()


def test_failed_make_leaves_no_folder_and_no_lock(tmp_path):
    def broken(folder: Path) -> None:
        fill(folder)
        raise OSError(28, "No space left on device")

    with DataCache(tmp_path) as cache:
        with pytest.raises(OSError, match="No space"):
            cache.folder("a", broken)
        assert names(tmp_path) == set()
        with DataCache(tmp_path) as other:
            assert other.folder("a", fill).is_dir()


def test_eviction_is_least_recently_used_and_skips_folders_in_use(tmp_path):
    holder = DataCache(tmp_path)
    holder.folder("held", fill)
    with DataCache(tmp_path) as cache:
        for name in ("old", "older", "new"):
            cache.folder(name, fill)
    for name, seconds in {"held": 1, "older": 2, "old": 3, "new": 4}.items():
        used(tmp_path, name, seconds)
    DataCache(tmp_path, 250_000).make_room()
    assert names(tmp_path) == {"held", "new"}
    DataCache(tmp_path, 250_000).make_room(250_000)
    assert names(tmp_path) == {"held"}
    holder.close()
    DataCache(tmp_path, 0).make_room()
    assert names(tmp_path) == set()


def test_reuse_updates_the_time_of_last_use(tmp_path):
    with DataCache(tmp_path) as cache:
        for name in ("a", "b"):
            cache.folder(name, fill)
            used(tmp_path, name, 1)
        cache.folder("a", fill)
    DataCache(tmp_path, 150_000).make_room()
    assert names(tmp_path) == {"a"}


def test_concurrent_processes_make_a_folder_once(tmp_path):
    making, go_on, made = threading.Event(), threading.Event(), []

    def slow(folder: Path) -> None:
        made.append(folder)
        making.set()
        assert go_on.wait(60)
        fill(folder)

    with DataCache(tmp_path) as first, DataCache(tmp_path) as second:
        thread = threading.Thread(target=first.folder, args=("a", slow))
        thread.start()
        assert making.wait(60)
        # The second one lets the first go on as soon as it is seen to wait.
        second.folder("a", slow, while_waiting=go_on.set)
        thread.join()
    assert len(made) == 1


def test_waiting_can_be_aborted(tmp_path):
    def impatient() -> None:
        raise KeyboardInterrupt

    def inner(folder: Path) -> None:
        with DataCache(tmp_path) as second, pytest.raises(KeyboardInterrupt):
            second.folder("a", fill, while_waiting=impatient)
        fill(folder)

    with DataCache(tmp_path) as first:
        assert first.folder("a", inner).is_dir()


MAKER = """
import sys, time
from pathlib import Path
from ttm_core.data.cache import DataCache
from ttm_core.files.locks import FileLock

def make(folder):
    (folder / "half").write_bytes(b"x")
    print("making", flush=True)
    time.sleep(600)

DataCache(Path(sys.argv[1])).folder("a", make)
"""


def test_killed_process_leaves_no_partial_folder_and_no_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert names(tmp_path) == {".a.partial"}
    DataCache(tmp_path, 10**9).make_room()
    assert names(tmp_path) == set()
    with DataCache(tmp_path) as cache:
        assert {path.name for path in cache.folder("a", fill).iterdir()} == {"file"}


def test_size_limit_holds_while_a_job_runs(tmp_path):
    with DataCache(tmp_path) as earlier:
        earlier.folder("old", fill)
    used(tmp_path, "old", 1)
    with DataCache(tmp_path, 250_000) as cache:
        cache.folder("one", fill)
        assert names(tmp_path) == {"old", "one"}
        cache.folder("two", fill)
        assert names(tmp_path) == {"one", "two"}
        cache.folder("three", fill)
        assert names(tmp_path) == {"one", "two", "three"}  # all in use
