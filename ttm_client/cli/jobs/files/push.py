"""`ttm push`."""

from typing import Annotated

import typer

from ttm_client.cli.jobs.show import JobArgument
from ttm_client.cli.output import FAILED, JsonOption, UrlOption, console, fail, print_json, service, transfer


def push(
    job_id: JobArgument,
    repository: Annotated[
        str, typer.Argument(metavar="hf:OWNER/REPO", help="Model repository of the Hugging Face Hub.")
    ],
    public: Annotated[
        bool, typer.Option("--public", help="Create a public repository. An existing one keeps its visibility.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch, created if it does not exist. Default: the repository's main branch.")
    ] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit. Default: the job's id.")] = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    r"""Upload the student to the Hugging Face Hub: weights, ONNX files and model card, in one commit.

    Needs `pip install "ttm-client\[hub]"` and an access token with write permission in HF_TOKEN. The repository is
    created if it does not exist, private unless --public. HF_ENDPOINT names another Hub.
    """
    if not repository.startswith("hf:"):
        raise typer.BadParameter("name the repository as hf:OWNER/REPO", param_hint="hf:OWNER/REPO")
    with service(url) as client, transfer("Downloading", quiet=json) as progress:
        try:
            address = client.jobs.push(
                job_id,
                repository,
                public=public,
                revision=revision,
                message=message,
                progress=progress,
            )
        except ImportError as error:
            fail(str(error), FAILED)
    if json:
        print_json({"commit": address})
    else:
        console.print(address, highlight=False)
