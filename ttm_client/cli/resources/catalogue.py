"""`ttm architectures` and `ttm recipes`."""

from itertools import islice
from typing import Annotated

import typer
import yaml

from ttm_client.cli.output import JsonOption, LimitOption, UrlOption, console, count, print_json, print_rows, service


def architectures(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words that the name must contain.")] = "",
    family: Annotated[str | None, typer.Option(help="Only this family, for example resnet.")] = None,
    limit: LimitOption = 50,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Search the architectures that the service can train."""
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
            model.origin,
        )
        for model in found
    ]
    print_rows(
        ("NAME", "FAMILY", "PARAMETERS", "MACS", "INPUT", "PRETRAINED", "ORIGIN"),
        rows,
        optional=("ORIGIN", "PRETRAINED", "INPUT", "FAMILY"),
        whole=("NAME",),
    )


def recipes(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="Words that the name must contain, or a full name.")
    ] = "",
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Search recipes. A full name prints the recipe.

    Start from a recipe with: ttm submit --recipe NAME --teacher FILE --dataset DATA
    """
    with service(url) as client:
        found = list(client.recipes.list(query or None))
    if json:
        print_json(found)
    elif matches := [recipe for recipe in found if recipe.name == query]:
        header = {"title": matches[0].title, "source": matches[0].source, "published": matches[0].published}
        console.print(
            yaml.safe_dump({**header, **matches[0].spec}, sort_keys=False), highlight=False, markup=False, end=""
        )
    else:
        figures = ("teacher", "student", "distilled")
        rows = [(recipe.name, *(_points(recipe.published.get(name)) for name in figures)) for recipe in found]
        print_rows(
            ("NAME", "TEACHER", "STUDENT ALONE", "DISTILLED"), rows, ("STUDENT ALONE", "TEACHER"), whole=("NAME",)
        )


def _points(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"
