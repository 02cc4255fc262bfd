"""What a person can do about a failure, by its code."""

_STEPS = {
    "bad_dataset": "Look at the dataset: the message names what is missing or broken. Then submit a new job.",
    "bad_checkpoint": "Save the checkpoint again as safetensors or as a plain state dict, and upload it anew.",
    "architecture_mismatch": "Name the architecture that the checkpoint was saved from, and its number of classes.",
    "unknown_architecture": "Choose a name from the list of architectures.",
    "non_finite_loss": "Lower the learning rate, add a warm-up, or clip gradients; then submit a new job.",
    "out_of_memory": "Make the batch or the images smaller, or raise `training.gradient_accumulation`; then retry.",
    "storage_full": "Free space where the service keeps its files, then retry the job.",
    "storage_unreachable": "Have the storage brought back, then retry the job.",
    "source_refused": "The address does not give the file to this service: look at its rights.",
    "source_unreachable": "See whether the address answers from the worker's machine, then retry.",
    "teacher_unreachable": "See whether the address of the teacher answers from the worker's machine, then retry.",
    "deadline_exceeded": "Submit it again with a later deadline or a higher priority.",
    "worker_lost": "See whether workers are there, then retry.",
}


def next_step(code: str, origin: str, *, retryable: bool) -> str:
    """One sentence, in plain text with code between backticks."""
    if code in _STEPS:
        return _STEPS[code]
    if origin == "user":
        return "Correct the spec and submit it as a new job; the same one would fail again."
    return "Retry the job." if retryable else "Read the end of the log: it holds the cause."
