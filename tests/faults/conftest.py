"""PostgreSQL, as in production, unless a test asks for another."""

import pytest


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{getattr(request, 'param', 'postgresql')}_url")
    return url
