"""Who may hold a lock beside whom."""

import pytest

from ttm_core.file_lock import FileLock


class _GivenUp(Exception):
    pass


def give_up() -> None:
    raise _GivenUp


def test_readers_share_and_an_owner_is_alone(tmp_path):
    with FileLock(tmp_path, "a") as one, FileLock(tmp_path, "a") as two, FileLock(tmp_path, "b") as other:
        one.share()
        two.share()
        assert other.try_own()
        with FileLock(tmp_path, "a") as third:
            assert not third.try_own()
            with pytest.raises(_GivenUp):
                third.own(while_waiting=give_up)
    with FileLock(tmp_path, "a") as one, FileLock(tmp_path, "a") as two:
        assert one.try_own()
        with pytest.raises(_GivenUp):
            two.share(while_waiting=give_up)


def test_a_lock_that_is_closed_is_free(tmp_path):
    with FileLock(tmp_path, "a") as one:
        one.own()
    with FileLock(tmp_path, "a") as two:
        assert two.try_own()
