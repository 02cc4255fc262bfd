"""Prints the OpenAPI document: `python -m api.openapi > docs/reference/openapi.json`."""

import json

from api.app import create_app


def main() -> None:
    """Prints the document of the application as JSON."""
    print(json.dumps(create_app().openapi(), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
