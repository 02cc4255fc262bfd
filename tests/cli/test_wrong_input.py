"""Arguments of `ttm` that are too long or too large."""

from tests.cli.conftest import Ttm


def test_a_limit_larger_than_any_list(ttm: Ttm) -> None:
    for command in (("jobs",), ("architectures", "resnet18"), ("queue",)):
        ended = ttm(*command, "-n", str(10**30))
        assert (ended.returncode, ended.stderr) == (0, "")


def test_a_name_that_is_too_long_for_a_url(ttm: Ttm) -> None:
    ended = ttm("show", "x" * 70_000)
    assert ended.returncode == 2
    assert "cannot be sent: URL too long" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
