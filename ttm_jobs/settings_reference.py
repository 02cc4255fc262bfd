"""`python -m ttm_jobs.settings_reference`: docs/reference/settings.md, made from the settings themselves."""

from pathlib import Path

from ttm_jobs.settings import Settings

_HEAD = """# Settings

Made by `python -m ttm_jobs.settings_reference > docs/reference/settings.md`; a test says when it is stale.

Each is an environment variable, read once when a process starts. A value that is not valid stops the process with the
reason. With `_FILE` at its end a variable names a file that holds the value, as container engines hand out
secrets: `TTM_DATABASE_URL_FILE=/run/secrets/database_url`. `ttm up` sets the addresses of what it embeds, and leaves
alone what the environment names.

| variable | default | meaning |
|---|---|---|
"""


def render() -> str:
    """The page as Markdown."""
    prefix = Settings.model_config["env_prefix"]
    rows = [
        f"| `{prefix}{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _default(value: object) -> str:
    match value:
        case () | None:
            return "none"
        case Path():
            return f"`{value.as_posix()}`"
        case bool() | str():
            return f"`{value}`"
        case int() | float():
            return f"`{value}`" if isinstance(value, int) else f"`{value:g}`"
        case _:
            return f"`{value}`"


if __name__ == "__main__":
    print(render(), end="")
