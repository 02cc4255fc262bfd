"""`ttm architectures`."""

from itertools import islice
from typing import Annotated

import typer

from cli.output import JsonOption, LimitOption, UrlOption, count, print_json, print_rows, service


def architectures(
    query: Annotated[str, typer.Argument(help="Words that must occur in the name.")] = "",
    family: Annotated[str | None, typer.Option(help="Only this family, such as resnet.")] = None,
    limit: LimitOption = 50,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Search the models that the service can make."""
    with service(url) as client:
        found = list(islice(client.architectures.list(query or None, family=family), limit))
    if json:
        print_json(found)
        return
    rows = [
        (
            model.name,
            model.family,
            count(model.parameters),
            count(model.macs),
            "x".join(str(side) for side in model.input_size),
            "yes" if model.pretrained else "",
        )
        for model in found
    ]
    print_rows(("NAME", "FAMILY", "PARAMETERS", "MACS", "INPUT", "PRETRAINED"), rows)
