"""The address of the page that is shown, with some of its parameters changed."""

from collections.abc import Iterable
from urllib.parse import urlencode

from starlette.datastructures import URL

# Where in a list a page is.
_PLACES = ("cursor", "page")


class Query:
    """Of a list. A page's place is left out, since another filter or order has other pages."""

    def __init__(self, url: URL, parameters: Iterable[tuple[str, str]]) -> None:
        self._path = url.path
        self._parameters = [(name, value) for name, value in parameters if name not in _PLACES and value]

    def having(self, name: str, value: str | None) -> str:
        """This address with one value of a parameter in place of all it had; None takes it away."""
        kept = [pair for pair in self._parameters if pair[0] != name]
        return self._address(kept if value is None else [*kept, (name, value)])

    def toggled(self, name: str, value: str) -> str:
        """This address with one value of a repeated parameter added, or taken away where it stands."""
        pair = (name, value)
        kept = [other for other in self._parameters if other != pair]
        return self._address(kept if pair in self._parameters else [*kept, pair])

    def others(self, *names: str) -> list[tuple[str, str]]:
        """The parameters beside these, for the hidden fields of a form."""
        return [pair for pair in self._parameters if pair[0] not in names]

    def _address(self, parameters: list[tuple[str, str]]) -> str:
        return f"{self._path}?{urlencode(parameters)}" if parameters else self._path
