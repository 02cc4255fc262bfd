"""Settings from files: `TTM_DATABASE_URL_FILE=/run/secrets/database_url`."""

import os
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource


class SecretFiles(PydanticBaseSettingsSource):
    """Reads settings from the files that variables with the suffix `_FILE` name, and strips whitespace.

    Raises ValueError if a file cannot be read, or if both variables are set.
    """

    def __call__(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, _, _ = self.get_field_value(field, name)
            if value is not None:
                given[name] = value
        return given

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return read_secret_file(f"{self.config['env_prefix']}{field_name.upper()}"), field_name, False


def read_secret_file(variable: str) -> str | None:
    """Returns the stripped content of the file that `variable` with the suffix `_FILE` names; None without one.

    Raises ValueError if the file cannot be read, or if both variables are set.
    """
    path = os.environ.get(f"{variable}_FILE")
    if path is None:
        return None
    if variable in os.environ:
        raise ValueError(f"{variable} and {variable}_FILE are both set")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{variable}_FILE: {path} cannot be read: {error}") from error
