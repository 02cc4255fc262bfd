"""Messages of errors."""

from ttm_jobs.errors import ServiceError


def test_a_message_from_a_docstring_is_one_line() -> None:
    class LongDocstring(ServiceError):
        """The job has no report: its artifacts were
        deleted.
        """

    assert LongDocstring().message == "The job has no report: its artifacts were deleted."
    assert LongDocstring("Gone.").message == "Gone."
