"""Failures of jobs and attempts, with the recommended action by error code."""

from typing import Literal

from pydantic import BaseModel, Field, computed_field

_STEPS = {
    "bad_dataset": "Fix the dataset as the message says, then submit a new job.",
    "bad_checkpoint": "Save the checkpoint as safetensors or as a plain state dict, then upload it again.",
    "architecture_mismatch": "Set the architecture and the number of classes that the checkpoint was saved with.",
    "unknown_architecture": "Choose a name from the list of architectures.",
    "non_finite_loss": "Lower the learning rate, add a warm-up or clip gradients, then submit a new job.",
    "out_of_memory": "Reduce the batch size or the image size, or increase `training.gradient_accumulation`, then "
    "submit a new job.",
    "storage_full": "Free space in the service's storage, then retry the job.",
    "storage_unreachable": "Ask the operator to restore the storage, then retry the job.",
    "source_refused": "Check the permissions of the URI: its server refused access.",
    "source_unreachable": "Check that the worker's machine can reach the URI, then retry the job.",
    "hub_unreachable": "Check that the worker's machine can reach the Hugging Face Hub, then retry the job.",
    "device_unavailable": "Ask the operator to check the driver of the worker's GPUs, then retry the job.",
    "measuring_killed": "Ask the operator for a worker with more free memory, then retry the job.",
    "reader_killed": "Ask the operator for a worker with more free memory, then retry the job.",
    "deadline_exceeded": "Submit the job again with a later deadline or a higher priority.",
    "worker_lost": "Check that workers are running, then retry the job.",
}


def next_step(code: str, origin: str, *, retryable: bool) -> str:
    """The recommended action as one sentence, with code between backticks."""
    if code in _STEPS:
        return _STEPS[code]
    if origin == "user":
        return "Correct the spec and submit a new job: the same job would fail again."
    return "Retry the job." if retryable else "Read the end of the log for the cause."


class Failure(BaseModel):
    """Why a job or an attempt failed."""

    code: str = Field(description="Stable error code.")
    message: str = Field(description="What happened.")
    origin: Literal["user", "system"] = Field(
        description="`user`: the cause is the job's input; `system`: the cause is the service."
    )
    retryable: bool = Field(description="Whether the same job may succeed if it runs again.")

    @computed_field(description="Recommended action, as text with code between backticks.")  # type: ignore[prop-decorator]
    @property
    def next_step(self) -> str:
        """Recommended action."""
        return next_step(self.code, self.origin, retryable=self.retryable)
