"""Shared and exclusive locks exclude each other as documented."""

import pytest

from ttm_core.files.locks import FileLock


class _GivenUp(Exception):
    pass


def give_up() -> None:
    raise _GivenUp


def test_shared_locks_coexist_and_an_exclusive_lock_excludes_others(tmp_path):
    with FileLock(tmp_path, "a") as one, FileLock(tmp_path, "a") as two, FileLock(tmp_path, "b") as other:
        one.acquire_shared()
        two.acquire_shared()
        assert other.try_acquire_exclusive()
        with FileLock(tmp_path, "a") as third:
            assert not third.try_acquire_exclusive()
    with FileLock(tmp_path, "a") as one, FileLock(tmp_path, "a") as two:
        assert one.try_acquire_exclusive()
        with pytest.raises(_GivenUp):
            two.acquire_shared(while_waiting=give_up)


def test_closing_releases_the_lock(tmp_path):
    with FileLock(tmp_path, "a") as one:
        one.acquire_exclusive()
    with FileLock(tmp_path, "a") as two:
        assert two.try_acquire_exclusive()
