"""The one file of a multipart/form-data body, taken out while it streams by: nothing is spooled to disk or kept."""

from collections.abc import AsyncIterator

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from api.http.errors import InvalidRequest


class FilePart:
    """Feeds on a multipart body and yields the bytes of its only part that has a file name.

    `filename` is known once the first bytes came out. InvalidRequest for a body that is damaged, ends early, or holds
    no file or several.
    """

    def __init__(self, boundary: bytes) -> None:
        self.filename: str | None = None
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._in_file = False
        self._files = 0
        self._ended = False
        self._out: list[bytes] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value_data,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InvalidRequest(f"The multipart boundary is not usable: {error}.") from None

    async def read(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The file's bytes, chunk by chunk as they arrive."""
        async for chunk in body:
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise InvalidRequest(f"The multipart body is damaged: {error}.") from None
            for data in self._out:
                yield data
            self._out.clear()
        if not self._ended:
            raise InvalidRequest("The multipart body ends before its closing boundary.")
        if self._files == 0:
            raise InvalidRequest("The multipart body holds no file: send one part with a file name.")

    def _part_begin(self) -> None:
        self._header_name = self._header_value = self._disposition = b""
        self._in_file = False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename")
        if name is None:
            return
        self._files += 1
        if self._files > 1:
            raise InvalidRequest("The multipart body holds more than one file: send one upload for each.")
        self._in_file = True
        self.filename = name.decode("utf-8", errors="replace")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._out.append(data[start:end])

    def _end(self) -> None:
        self._ended = True
