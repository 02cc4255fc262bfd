"""What groups of settings share: where values come from, names of queues and projects, and lists of names."""

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from ttm_jobs.secret_files import SecretFiles

# The queue of jobs that name none.
DEFAULT_QUEUE = "default"
Queue = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$")]

PROJECT_NAME = r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"


def _split_names(value: object) -> object:
    """The parts of a text between commas. Any other value is unchanged."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def none_as_null(value: object) -> object:
    """None for the text `none`, which lifts a limit. Any other value is unchanged."""
    return None if value == "none" else value


def empty_as_null(value: object) -> object:
    """None for an empty text: a variable without a value counts as unset. Any other value is unchanged."""
    return None if value == "" else value


# A type and no validator of the groups: validators of the same name in several groups would replace each other.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)]
Queues = Annotated[tuple[Queue, ...], NoDecode, BeforeValidator(_split_names)]


class SettingsGroup(BaseSettings):
    """Settings that are read from TTM_* environment variables."""

    model_config = SettingsConfigDict(env_prefix="TTM_", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Priority: arguments, environment variables, files named by environment variables."""
        return (named["init_settings"], named["env_settings"], SecretFiles(settings_cls))
