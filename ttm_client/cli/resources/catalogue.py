"""`ttm architectures`."""

from itertools import islice
from typing import Annotated

import typer
import yaml

from ttm_client.cli.output import JsonOption, LimitOption, UrlOption, console, count, print_json, print_rows, service


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


def recipes(
    query: Annotated[str, typer.Argument(help="Words that must occur in the name, or a whole name.")] = "",
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Search the published runs; a whole name shows what the recipe says.

    Start from one with: ttm submit --recipe NAME --teacher FILE --dataset DATA
    """
    with service(url) as client:
        found = list(client.recipes.list(query or None))
    if json:
        print_json(found)
    elif exact := [recipe for recipe in found if recipe.name == query]:
        told = {"title": exact[0].title, "source": exact[0].source, "published": exact[0].published}
        console.print(yaml.safe_dump({**told, **exact[0].spec}, sort_keys=False), highlight=False, markup=False, end="")
    else:
        figures = ("teacher", "student", "distilled")
        rows = [(recipe.name, *(_points(recipe.published.get(name)) for name in figures)) for recipe in found]
        print_rows(("NAME", "TEACHER", "STUDENT ALONE", "DISTILLED"), rows)


def _points(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"
