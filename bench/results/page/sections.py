"""The sections of the page that are tables of accuracies, in their order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.results.page.sentences import comparisons, edges, origin
from bench.results.page.tables import accuracies, costs, tuning
from bench.results.page.text import wrapped


@dataclass(frozen=True)
class Section:
    """The heading and the text before and after a table. Placeholders are fields of the record."""

    title: str
    before: str
    after: str = ""
    costs: bool = False


SECTIONS: dict[str, Section] = {
    "methods": Section(
        "Methods with a published teacher",
        """\
`{student}` on {train_images:,} photographs of {data} (500 more are the validation split), {epochs} epochs, batch
{batch_size}, SGD with a learning rate of {learning_rate:g}. The teacher is a published ResNet-56 with {teacher} on the
{test_images:,} test photographs. It has seen the training photographs, with labels, but not the test photographs; a
teacher that has not seen the student's images may help more or less. Validation accuracy of the first seed chose the
main weight of each method from 0.1, 0.3 and 1 times its default; 500 photographs show only large differences. All
runs read the teacher's logits of the same views.""",
        "If no method differed from kd, about one in three such tables would show a difference: there are six "
        "comparisons at 95 %.",
    ),
    "default_weights": Section(
        "Methods at their default weights",
        """\
As above, with the default of each main weight: the published values, which are for 240 epochs of CIFAR-100. Those of
dkd, dist and wkd rise from 0 over 15,640 steps, so that these runs of 710 steps end at 4.5 % of them.""",
        "Where a method is less accurate than ce, use a smaller weight in short runs on few images.",
    ),
    "peers": Section(
        "Other libraries, and the cost of equal accuracy",
        """\
The same photographs, teacher, student, batch, schedule and seeds, {epochs} epochs unless stated, with KD at its default
weights. The other libraries run in float32 with the teacher at every step, on images as tensors in memory. *First job*
starts with an empty store of teacher logits, *later jobs* read them; ours uses bfloat16, the default on this CPU.
CPU-seconds are of whole processes: start (about 8), training, validation after every epoch, and the test. The plain
loop and torchdistill draw the same random numbers and compute the same loss, so their students are equal.""",
        costs=True,
    ),
    "equal_accuracy": Section(
        "The cost of the same accuracy",
        """\
The accuracy of torchdistill's KD after {epochs} epochs with the recipe above, and the shortest runs of ours found to
reach it: wttm, AdamW, batches of 32 and few views, with students from random weights or with the teacher's weights.
The plain loop with the same recipe shows what the recipe saves without the service. The recipes were chosen by runs
with the first seed.""",
        costs=True,
    ),
    "capabilities": Section(
        "What each option is worth",
        """\
`{student}`, {epochs} epochs, wttm with its default weights; otherwise as above. *defaults* is this recipe, with a new
view of each image in each epoch. One option is changed at a time. Each run computes the teacher's logits for its views;
a later job would read them.""",
        costs=True,
    ),
    "students": Section(
        "Students with the teacher's weights",
        """\
`{student}`, {epochs} epochs unless stated, wttm with its default weights; otherwise as above. Inherited weights are the
first block of each stage (`initialize: teacher`). The pruned teacher keeps 12 % of its multiply-accumulates in one
step; `{student}` has 10 %. Because the teacher has seen the training photographs, a student with its weights has seen
them, too.""",
        costs=True,
    ),
    "unlabelled": Section(
        "Unlabelled images",
        """\
`{student}`, wttm with its default weights, on {train_images:,} labelled photographs alone and with unlabelled
photographs of the same kind, on which only the method's loss counts. The longer run on labelled photographs has as many
steps. The teacher has seen the labelled and the unlabelled photographs, but not the test photographs.""",
        costs=True,
    ),
    "defaults_small": Section(
        "Optimizer and batch size",
        """\
`{student}` on {train_images:,} photographs of {data}, {epochs} epochs of wttm. `training.batch_size` is 32 by default
in runs that would have less than 3,000 steps of 64 images, and 64 in longer ones.""",
        costs=True,
    ),
    "defaults_long": Section(
        "Optimizer, batch size and views in long runs",
        """\
The same student, data and method with the default number of epochs, {epochs}. The last row has ten views of each image;
the others have a new view in every epoch. The first run computed all teacher logits, and the other runs read them.""",
        "This is why SGD with batches of 64 stays the default of long runs. `training.views` is worth setting there: "
        "ten views cost a first job a seventh of the teacher's forward passes.",
    ),
    "defaults_depthwise": Section(
        "Learning rate and precision of depthwise networks",
        """\
`{student}`, which has depthwise convolutions, on {train_images:,} photographs of {data}, {epochs} epochs of wttm. The
published recipes train such students with a rate of 0.01, and others with 0.05. The teacher's logits are those of
bfloat16 in all runs but the last row's, where the teacher computes in float32 as well.""",
        "This is why the default learning rate of SGD is 0.01 for such students, and why `training.precision: auto` "
        "includes them. In one run each, `convnext_atto` reached 36.8 % with 0.01 and 23.0 % with 0.05 after 6 epochs; "
        "`vit_tiny_patch16_224` at 64 pixels reached 23.6 % with 0.01 and 30.2 % with AdamW 0.001 after 4 epochs, and "
        "its loss became NaN with 0.05, also in float32; `cifar/MobileNetV2` reached 37.8 % with SGD 0.01 and 31.7 % "
        "with AdamW 0.001 after 6 epochs of two views.",
        costs=True,
    ),
    "defaults_classes": Section(
        "Optimizer and batch size: more classes",
        """\
The same student on {train_images:,} photographs of CIFAR-100, {epochs} epochs with the labels alone.""",
        costs=True,
    ),
    "defaults_photographs": Section(
        "Optimizer and batch size: larger images",
        """\
The teacher of the next section, pruned to 30 % of its multiply-accumulates, on {train_images:,} photographs at
{image_size} pixels, {epochs} epochs of wttm. The runs with AdamW 0.002 are those of the next section, in float32; the
others are in bfloat16.""",
        "Set `training.optimizer` to AdamW for short runs of students with pruned, inherited or published weights. The "
        "default is SGD 0.01 for this student, which has depthwise convolutions; long runs were not compared on these "
        "data.",
        costs=True,
    ),
    "photographs": Section(
        "Photographs of ten ImageNet classes",
        """\
{train_images:,} photographs at {image_size} pixels, {epochs} epochs. The teacher is an EfficientNet-Lite0 for ImageNet
with {teacher} on the {test_images:,} test photographs. Most of the photographs are from ImageNet's training set, so the
teacher's accuracy is optimistic.""",
    ),
    "origins": Section(
        "Teachers and students of every origin",
        """\
The same photographs, teacher and schedule, wttm. The ONNX teacher is the same network, run by ONNX Runtime. `tinynet_d`
is a hand-designed network with at least the multiply-accumulates of the pruned teacher. The weights of a hub are those
of the teacher, fetched by a worker with `hf:OWNER/NAME` from a hub on the same machine. The architecture of a package
is the [example of the guide](how-to/add-an-architecture.md): a single convolution. Only the first job with each teacher
computed its logits.""",
        costs=True,
    ),
}


def section(name: str, record: Mapping[str, Any]) -> str:
    """Heading, text, table, what the table shows, and how it was made."""
    about = SECTIONS[name]
    parts = [f"## {about.title}\n", wrapped(about.before.format_map(_facts(record))), accuracies(record)]
    if about.costs:
        parts.append(costs(record))
    if tried := tuning(record):
        parts += [wrapped(f"The values that were tried, one run each (seed 0). {edges(record)}"), tried]
    parts += [wrapped(f"{comparisons(record)} {about.after}"), origin(record)]
    return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts) + "\n"


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    training, runs, student = record["base"]["training"], record["runs"], record["base"]["student"]
    teachers = [run["teacher"] for run in runs if run["teacher"] is not None]
    return {
        "data": record["data"],
        "student": student if isinstance(student, str) else student.get("architecture"),
        "image_size": None if isinstance(student, str) else student["image_size"],
        "epochs": training.get("epochs", runs[0]["epochs"]),
        "batch_size": training["batch_size"],
        "learning_rate": training["optimizer"]["learning_rate"],
        "train_images": runs[0]["train_images"],
        "test_images": runs[0]["test_images"],
        "teacher": f"{100 * teachers[0]:.2f} %" if teachers else "unknown accuracy",
    }
