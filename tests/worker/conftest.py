"""A runner in this process, with the tiny trainer as a real process."""

import pytest

from tests.support.rig import MakeRig, Rig


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig()
