"""Commits files to a model repository of the Hugging Face Hub."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from ttm_client.errors import HubRefused, HubUnreachable

TOKEN_VARIABLE = "HF_TOKEN"


@dataclass(frozen=True)
class Destination:
    """A branch of a repository; the default branch if `revision` is None. The branch and the repository are created if
    they do not exist. A new repository is public or private; an existing one keeps its visibility.
    """

    repository: str
    revision: str | None
    public: bool


def require_hub() -> str:
    """Returns the token in HF_TOKEN. Raises ImportError without huggingface_hub, and HubRefused without a token."""
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ImportError(f"push needs huggingface_hub: pip install 'ttm-client[hub]' ({error})") from error
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise HubRefused(
            f"Set {TOKEN_VARIABLE} to an access token of the Hugging Face Hub with write permission. Create one at "
            "https://huggingface.co/settings/tokens."
        )
    return token


def publish(files: Mapping[str, Path], to: Destination, *, message: str, token: str) -> str:
    """Commits the files by their names in the repository. Returns the URL of the commit.

    Raises HubRefused if the Hub refuses the request, and HubUnreachable if it is unavailable or limits the rate.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    with _hub_errors(to.repository):
        api = HfApi(token=token)
        api.create_repo(to.repository, private=not to.public, exist_ok=True)
        if to.revision is not None:
            api.create_branch(to.repository, branch=to.revision, exist_ok=True)
        additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
        return api.create_commit(to.repository, additions, commit_message=message, revision=to.revision).commit_url


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Translates errors of the Hub's client."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        _raise(error.response.status_code, error.server_message, repository, error)
    except HFValidationError as error:
        raise HubRefused(f"{repository!r} is not a repository: write hf:OWNER/REPO.") from error
    except OfflineModeIsEnabled as error:
        raise HubUnreachable("HF_HUB_OFFLINE is set, so the Hugging Face Hub cannot be used.") from error
    except httpx2.TransportError as error:
        raise HubUnreachable(f"The Hugging Face Hub cannot be reached: {error}") from error
    except RuntimeError as error:
        # Raised for a file that could not be uploaded.
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            _raise(cause.response.status_code, cause.server_message, repository, error)
        raise HubUnreachable(f"{error} {cause or ''}".strip()) from error


def _raise(status: int, message: str | None, repository: str, error: Exception) -> None:
    match status:
        case HTTPStatus.UNAUTHORIZED:
            raise HubRefused(f"The Hugging Face Hub does not accept the token in {TOKEN_VARIABLE}.") from error
        case HTTPStatus.FORBIDDEN:
            raise HubRefused(
                f"The token in {TOKEN_VARIABLE} may not write to {repository!r}. Use a token with write permission for "
                "this owner, or a repository of your own."
            ) from error
        case HTTPStatus.TOO_MANY_REQUESTS:
            raise HubUnreachable(
                "The Hugging Face Hub limits the rate of your requests (429). Try again later."
            ) from error
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise HubUnreachable(f"The Hugging Face Hub returned status {status}. Try again later.") from error
        case _:
            reason = f": {message}" if message else ""
            raise HubRefused(f"The Hugging Face Hub refused the upload to {repository!r} ({status}){reason}") from error
