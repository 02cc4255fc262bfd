"""What a job keeps for its damage report and for predictions, next to the student: the files and their switches."""

from pydantic import Field

from ttm_core.spec.base import Spec

DAMAGE_FILE, IMAGES_FILE, PREDICTIONS_FILE = "damage.json", "damage-images.zip", "predictions.safetensors"
TEACHER_FILE = "teacher.onnx"


class ReportSpec(Spec):
    """Files of the damage report. All of them are artifacts of the job, with the job's access rules."""

    gallery: bool = Field(
        True,
        description="Keep thumbnails of up to 200 evaluated images (at most 10 MB) with both models' predictions. "
        "`false` keeps images out of the service.",
    )
    teacher_onnx: bool = Field(
        True,
        description="Keep the teacher as teacher.onnx if it is one model that exports to at most 200 MB, so that "
        "`POST /jobs/{id}/predict` also answers with the teacher's classes. Requires an ONNX file of the "
        "student in `exports`.",
    )
