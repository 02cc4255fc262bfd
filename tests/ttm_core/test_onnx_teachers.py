"""ONNX files as teachers: any framework's model, read with bounds and run by ONNX Runtime."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from torch import nn

from tests.ttm_core import factories
from ttm_core.__main__ import as_engine_error
from ttm_core.checkpoints.schema import InspectionRequest
from ttm_core.errors import BadCheckpoint, BadSpec
from ttm_core.export import load_student
from ttm_core.models.teachers.load import load_teacher
from ttm_core.pipeline.distill import distill
from ttm_core.reader.checkpoints.inspection import inspect
from ttm_core.reader.checkpoints.onnx_file import describe
from ttm_core.spec.job import TeacherSpec
from ttm_core.teacher_store.store import Stores

TEN = [str(number) for number in range(10)]
UNIT = {"mean": [0.0], "std": [1.0]}


def graph(nodes, shape, *, initializers=(), outputs=(("y", [None, 10]),), kind=TensorProto.FLOAT, domains=()):
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs],
            list(initializers),
        ),
        opset_imports=[helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 3) for domain in domains)],
        ir_version=9,
    )


def tensor(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def linear(shape, *, last=(), pixels=784, first=(), channels_last=False):
    """A linear classifier of flattened pixels, after the nodes `first` and before the nodes `last`."""
    weight = np.random.default_rng(0).normal(0, 0.05, (pixels, 10)).astype(np.float32)
    source = first[-1].output[0] if first else "x"
    end = "z" if last else "y"
    nodes = [
        *first,
        helper.make_node("Flatten", [source], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], [end]),
        *last,
    ]
    return graph(nodes, shape, initializers=[tensor("w", weight)]), weight


def load(path, size=28, names=TEN, **fields):
    spec = TeacherSpec.model_validate({"checkpoint": "file:///x", **fields})
    return load_teacher(spec, path, image_size=size, class_names=names)


def pixels(channels=1, size=28, count=3):
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=torch.manual_seed(3))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["features", "Logits"], "Logits"),
        (["a", "b"], "a"),
        (["output", "aux_logits"], "output"),
        (["aux_logits", "logits"], "logits"),
        (["aux", "output"], "output"),
    ],
)
def test_output_called_logits_is_chosen_of_several(tmp_path, names, chosen):
    nodes = [helper.make_node("Flatten", ["x"], ["flat"])]
    nodes += [helper.make_node("MatMul", ["flat", "w"], [name]) for name in names]
    weight = tensor("w", np.ones((784, 10), np.float32))
    outputs = [(name, [None, 10]) for name in names]
    onnx.save(graph(nodes, [None, 1, 28, 28], initializers=[weight], outputs=outputs), tmp_path / "x.onnx")
    assert describe(tmp_path / "x.onnx", run=False).output == chosen


def test_features_that_the_scores_are_computed_of_are_not_chosen(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "v"], ["b"]),
    ]
    weights = [tensor("w", np.ones((784, 16), np.float32)), tensor("v", np.ones((16, 10), np.float32))]
    model = graph(nodes, [None, 1, 28, 28], initializers=weights, outputs=[("a", [None, 16]), ("b", [None, 10])])
    onnx.save(model, tmp_path / "x.onnx")
    assert describe(tmp_path / "x.onnx", run=False).output == "b"


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_logits_are_those_of_the_graph(tmp_path, batch):
    model, weight = linear([batch, 1, 28, 28])
    onnx.save(model, tmp_path / "x.onnx")
    teacher = load(tmp_path / "x.onnx", normalization=UNIT)
    images = pixels()
    expected = images.flatten(1).numpy().astype(np.float32) / 255 @ weight
    np.testing.assert_allclose(teacher.model(teacher.preprocess(images)).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert (teacher.architecture, teacher.structure, teacher.num_classes) == ("onnx", None, 10)
    assert teacher.parameters == 7840


def test_channels_last_and_flat_inputs(tmp_path):
    model, weight = linear([None, 28, 28, 3], pixels=28 * 28 * 3)
    onnx.save(model, tmp_path / "keras.onnx")
    teacher = load(tmp_path / "keras.onnx", normalization={"mean": [0.0] * 3, "std": [1.0] * 3})
    images = pixels(3)
    expected = images.permute(0, 2, 3, 1).flatten(1).numpy().astype(np.float32) / 255 @ weight
    np.testing.assert_allclose(teacher.model(teacher.preprocess(images)).numpy(), expected, rtol=1e-4, atol=1e-4)

    model, weight = linear([None, 784])
    onnx.save(model, tmp_path / "flat.onnx")
    teacher = load(tmp_path / "flat.onnx", normalization=UNIT)
    expected = pixels().flatten(1).numpy().astype(np.float32) / 255 @ weight
    np.testing.assert_allclose(teacher.model(teacher.preprocess(pixels())).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_probabilities_become_logarithms(tmp_path):
    model, weight = linear([None, 1, 28, 28], last=[helper.make_node("Softmax", ["z"], ["y"])])
    onnx.save(model, tmp_path / "x.onnx")
    logits = torch.from_numpy(pixels().flatten(1).numpy().astype(np.float32) / 255 @ weight)
    teacher = load(tmp_path / "x.onnx", normalization=UNIT)
    found = teacher.model(teacher.preprocess(pixels()))
    torch.testing.assert_close(found, logits.log_softmax(1), rtol=1e-3, atol=1e-3)
    kept = load(tmp_path / "x.onnx", normalization=UNIT, output="logits")
    torch.testing.assert_close(kept.model(kept.preprocess(pixels())), logits.softmax(1), rtol=1e-3, atol=1e-3)


def test_the_mean_of_softmaxes_is_probabilities(tmp_path):
    """No softmax is last, as in an ensemble or with test-time augmentation, but the rows sum to 1."""
    last = [helper.make_node("Softmax", ["z"], ["p"]), helper.make_node("Mean", ["p", "p"], ["y"])]
    model, weight = linear([None, 1, 28, 28], last=last)
    onnx.save(model, tmp_path / "x.onnx")
    logits = torch.from_numpy(pixels().flatten(1).numpy().astype(np.float32) / 255 @ weight)
    teacher = load(tmp_path / "x.onnx", normalization=UNIT)
    found = teacher.model(teacher.preprocess(pixels()))
    torch.testing.assert_close(found, logits.log_softmax(1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_a_classifier_of_scikit_learn_returns_a_label_and_probabilities(tmp_path, kind):
    """The graph that skl2onnx writes for a logistic regression with zipmap=False, of float32 or float64 pixels."""
    weight = np.random.default_rng(0).normal(0, 0.05, (10, 784))
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            coefficients=weight.flatten().tolist(),
            intercepts=[0.0] * 10,
            classlabels_ints=list(range(10)),
            multi_class=1,
            post_transform="SOFTMAX",
        ),
        helper.make_node("Normalizer", ["raw"], ["probabilities"], domain="ai.onnx.ml", norm="L1"),
    ]
    outputs = [("probabilities", [None, 10])]
    model = graph(nodes, [None, 784], outputs=outputs, kind=kind, domains=["ai.onnx.ml"])
    model.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, [None]))
    onnx.save(model, tmp_path / "x.onnx")
    teacher = load(tmp_path / "x.onnx", normalization=UNIT)
    logits = torch.from_numpy(pixels().flatten(1).numpy() / 255 @ weight.T).float()
    found = teacher.model(teacher.preprocess(pixels()))
    torch.testing.assert_close(found, logits.log_softmax(1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("divisor", "std"), [(255.0, 1 / 255), (0.5, 1.0)])
def test_normalization_inside_the_graph_is_detected(tmp_path, divisor, std):
    first = [helper.make_node("Div", ["x", "scale"], ["scaled"])]
    model, _ = linear([None, 1, 28, 28], first=first)
    model.graph.initializer.append(tensor("scale", np.float32([divisor])))
    model.graph.node.insert(0, helper.make_node("Shape", ["x"], ["batch"]))  # which exporters add
    onnx.save(model, tmp_path / "x.onnx")
    assert load(tmp_path / "x.onnx").preprocess.normalization.std == [pytest.approx(std)]


@pytest.mark.parametrize(
    ("operators", "std"),
    [
        ([("Mul", 255.0), ("Sub", 123.7), ("Div", 58.4)], 1.0),
        ([("Mul", 255.0), ("Sub", 123.7)], 1.0),
        ([("Div", 0.0039), ("Add", -123.7)], 1.0),
        ([("Mul", 2.0), ("Sub", 1.0)], 1.0),
        ([("Sub", 123.7), ("Div", 58.4)], 1 / 255),
        ([("Mul", 0.0171), ("Add", -2.12)], 1 / 255),
        ([("Div", 127.5), ("Sub", 1.0)], 1 / 255),
    ],
)
@pytest.mark.parametrize("kind", ["initializer", "value", "value_float"])
def test_the_scale_of_the_pixels_is_that_of_all_operators_together(tmp_path, operators, std, kind):
    """A graph may multiply pixels in [0, 1] by 255 and then subtract the mean of pixels in [0, 255]."""
    first = [
        helper.make_node(operator, [f"x{number}" if number else "x", f"k{number}"], [f"x{number + 1}"])
        for number, (operator, _) in enumerate(operators)
    ]
    model, _ = linear([None, 1, 28, 28], first=first)
    for number, (_, value) in enumerate(operators):
        if kind == "initializer":
            model.graph.initializer.append(tensor(f"k{number}", np.float32([value])))
        else:
            attribute = {kind: value if kind == "value_float" else tensor("", np.float32([value]))}
            model.graph.node.insert(0, helper.make_node("Constant", [], [f"k{number}"], **attribute))
    onnx.save(model, tmp_path / "x.onnx")
    assert load(tmp_path / "x.onnx").preprocess.normalization.std == [pytest.approx(std)]


def test_a_graph_of_any_size_is_run_at_the_given_one(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)

        def forward(self, x):
            return self.fc(self.conv(x).mean((2, 3)))

    net = Net().eval()
    batch, side = torch.export.Dim("batch"), torch.export.Dim("side", min=8)
    torch.onnx.export(
        net,
        (torch.zeros(2, 3, 40, 40),),
        tmp_path / "x.onnx",
        dynamo=True,
        external_data=False,
        dynamic_shapes=({0: batch, 2: side, 3: side},),
        verbose=False,
    )
    normalization = {"mean": [0.5] * 3, "std": [0.25] * 3}
    assert load(tmp_path / "x.onnx", size=32, normalization=normalization).preprocess.image_size == 32
    teacher = load(tmp_path / "x.onnx", size=32, image_size=64, normalization=normalization)
    assert teacher.preprocess.image_size == 64
    x = teacher.preprocess(pixels(3, 64))
    with torch.no_grad():
        torch.testing.assert_close(teacher.model(x), net(x), rtol=1e-4, atol=1e-4)


def test_fields_that_do_not_fit_are_refused(tmp_path):
    onnx.save(linear([None, 1, 28, 28])[0], tmp_path / "x.onnx")
    for fields, message in (
        ({}, "teacher.normalization is required"),
        ({"normalization": {"mean": [0.5] * 3, "std": [0.5] * 3}}, "has 3 channels"),
        ({"normalization": UNIT, "num_classes": 7}, "num_classes is 7, but the ONNX file returns 10"),
        ({"normalization": UNIT, "image_size": 64}, "takes 28 pixels"),
        ({"normalization": UNIT, "architecture": "resnet18"}, "architecture is not supported"),
        ({"normalization": UNIT, "key_map": {"a": "b"}}, "key_map is not supported"),
    ):
        with pytest.raises(BadSpec, match=message):
            load(tmp_path / "x.onnx", **fields)


def external(path):
    model, _ = linear([None, 1, 28, 28])
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path.read_bytes()


def default_in_another_file(path):
    """The default of a function's attribute is external data."""
    model, _ = linear([None, 1, 28, 28], last=[helper.make_node("Shift", ["z"], ["y"], domain="local")])
    imports = [*model.opset_import, helper.make_opsetid("local", 1)]
    constant = helper.make_node("Constant", [], ["c"])
    constant.attribute.add(name="value", ref_attr_name="by", type=onnx.AttributeProto.TENSOR)
    default = helper.make_attribute("by", tensor("t", np.float32([1.0])))
    set_external_data(default.t, location="/etc/passwd", offset=0, length=4)
    default.t.ClearField("raw_data")
    nodes = [constant, helper.make_node("Add", ["z", "c"], ["y"])]
    model.functions.append(
        helper.make_function("local", "Shift", ["z"], ["y"], nodes, imports, attribute_protos=[default])
    )
    model.opset_import.append(imports[-1])
    return model.SerializeToString()


def custom(path):
    model, _ = linear([None, 1, 28, 28], last=[helper.make_node("Evil", ["z"], ["y"], domain="evil")])
    return model.SerializeToString()


def looping(path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, None),
        ],
    )
    model, _ = linear([None, 1, 28, 28], last=[helper.make_node("Loop", ["", "true", "z"], ["y"], body=body)])
    model.graph.initializer.append(tensor("true", np.array(True)))
    return model.SerializeToString()


def looping_in_a_function(path):
    model = onnx.load_model_from_string(looping(path))
    loop = model.graph.node[-1]
    imports = [*model.opset_import, helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "Harmless", ["true", "z"], ["y"], [loop], imports)
    model.graph.node[-1].CopyFrom(helper.make_node("Harmless", ["true", "z"], ["y"], domain="local"))
    model.functions.append(function)
    model.opset_import.append(imports[-1])
    return model.SerializeToString()


def huge(path):
    """Fills 40 GB with zeros and adds their sum to the logits."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["z", "sum"], ["y"]),
    ]
    model, _ = linear([None, 1, 28, 28], last=nodes)
    model.graph.initializer.append(tensor("shape", np.int64([10_000_000_000])))
    return model.SerializeToString()


def not_finite(path):
    model, _ = linear([None, 1, 28, 28], last=[helper.make_node("Log", ["z"], ["y"])])
    return model.SerializeToString()


def wrong_operator(path):
    model, _ = linear([None, 1, 28, 28], last=[helper.make_node("Conv", ["z", "w"], ["y"])])
    return model.SerializeToString()


def two_inputs(path):
    model, _ = linear([None, 1, 28, 28])
    model.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [None, 3]))
    return model.SerializeToString()


def detector(path):
    model, _ = linear([None, 1, 28, 28])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 5, 5, 3]))
    return model.SerializeToString()


def of_bytes():
    model, _ = linear([None, 1, 28, 28])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.UINT8, [None, 1, 28, 28]))
    return model.SerializeToString()


def of_the_future():
    model, _ = linear([None, 1, 28, 28])
    model.opset_import[0].version = 99
    return model.SerializeToString()


def one_output(path):
    model, _ = linear([None, 1, 28, 28])
    model.graph.initializer[0].CopyFrom(tensor("w", np.ones((784, 1), np.float32)))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    return model.SerializeToString()


def labels_only():
    model, _ = linear([None, 1, 28, 28])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT64, [None]))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (external, "^The ONNX file cannot be used: it stores tensors in other files; external data"),
        (default_in_another_file, "external data"),
        (custom, "custom operators"),
        (looping, "operator Loop"),
        (looping_in_a_function, "operator Loop"),
        (huge, r"memory|cannot run"),
        (not_finite, "NaN or infinite"),
        (wrong_operator, "cannot run"),
        (two_inputs, "has 2 inputs"),
        (one_output, "one output, as binary classifiers with a sigmoid have"),
        (detector, r"no output of the shape \[batch, classes\]"),
        (lambda path: linear([None, 5, 28, 28], pixels=3920)[0].SerializeToString(), "Supported are"),
        (lambda path: linear([None, 1, 28, 14], pixels=392)[0].SerializeToString(), "square images"),
        (lambda path: linear([None, 1, 28, 28])[0].SerializeToString()[:3000], "not an ONNX file"),
    ],
)
def test_hostile_and_unusable_files_are_refused(tmp_path, make, message):
    content = make(tmp_path / "made.onnx")
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=message):
        load(tmp_path / "x.onnx", normalization=UNIT)


def on_bright_images(*last):
    """A classifier that computes `last` from its logits z and k, the brightest pixel as an integer of shape [1]."""
    brightest = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Reshape", ["most", "one"], ["most1"]),
        helper.make_node("Cast", ["most1"], ["k"], to=TensorProto.INT64),
    ]
    model, _ = linear([None, 1, 28, 28], last=[*brightest, *last])
    model.graph.initializer.append(tensor("one", np.int64([1])))
    return model


@pytest.mark.parametrize(
    ("last", "initializers", "error", "message"),
    [
        (
            [helper.make_node("Gather", ["table", "k"], ["found"]), helper.make_node("Add", ["z", "found"], ["y"])],
            {"table": np.float32([0])},
            BadCheckpoint,
            "cannot run the file on images of 28 pixels",
        ),
        (
            [
                helper.make_node("Add", ["k", "one"], ["twice"]),
                helper.make_node("Concat", ["one", "twice"], ["times"], axis=0),
                helper.make_node("Tile", ["z", "times"], ["y"]),
            ],
            {},
            BadCheckpoint,
            r"has the shape \[3, 20\] for some images, not \[3, 10\]",
        ),
        (
            [
                helper.make_node("Mul", ["k", "many"], ["size"]),
                helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
                helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
                helper.make_node("Add", ["z", "sum"], ["y"]),
            ],
            {"many": np.int64([2**55])},
            MemoryError,
            "llocat",
        ),
    ],
    ids=["fails", "another shape", "memory"],
)
def test_files_that_fail_on_some_images_only_are_user_errors(tmp_path, last, initializers, error, message):
    model = on_bright_images(*last)
    model.graph.initializer.extend(tensor(name, values) for name, values in initializers.items())
    onnx.save(model, tmp_path / "x.onnx")
    teacher = load(tmp_path / "x.onnx", normalization=UNIT).model
    assert teacher(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    with pytest.raises(error, match=message) as caught:
        teacher(torch.ones(3, 1, 28, 28))
    assert as_engine_error(caught.value).origin == "user"


def test_inspection_describes_without_running(tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    onnx.save(linear([None, 1, 28, 28])[0], tmp_path / "x.onnx")
    found = inspect(tmp_path / "x.onnx", InspectionRequest())
    assert (found.kind, found.problem) == ("onnx", None)
    assert found.onnx is not None
    assert (found.onnx.layout, found.onnx.channels, found.onnx.image_size, found.onnx.num_classes) == (
        "NCHW",
        1,
        28,
        10,
    )
    for content, problem in (
        (looping(None), "Loop"),
        (of_bytes(), "has the type uint8. Supported are float32, float16 and float64"),
        (of_the_future(), "has opset 99; at most"),
        (labels_only(), "no output of the shape [batch, classes]"),
    ):
        (tmp_path / "x.onnx").write_bytes(content)
        assert problem in (inspect(tmp_path / "x.onnx", InspectionRequest()).problem or "")


@pytest.mark.parametrize("method", [{"kind": "wttm", "features": "crd"}, {"kind": "wkd", "relations": "features"}])
def test_a_method_that_needs_layers_is_refused(digits_idx, tmp_path, method):
    onnx.save(linear([None, 1, 28, 28])[0], tmp_path / "x.onnx")
    teacher = {"checkpoint": (tmp_path / "x.onnx").as_uri(), "normalization": UNIT, "allow_chance": True}
    spec = factories.spec(digits_idx, teacher, method=method)
    with pytest.raises(BadSpec, match="with these options needs layers of the teacher"):
        distill(spec, tmp_path / "run")


def test_an_exported_student_is_a_teacher(digits_idx, tmp_path):
    """A run with the ONNX file of a student as teacher stores its logits once and equals one with the safetensors."""
    first = factories.spec(digits_idx, exports=["onnx"])
    distill(first, tmp_path / "first")
    out = tmp_path / "first" / "out"
    results = {}
    for name in ("student.onnx", "student.safetensors"):
        spec = factories.spec(digits_idx, out / name, training={"epochs": 1})
        spec = spec.model_copy(update={"teacher": TeacherSpec(checkpoint=(out / name).as_uri(), allow_chance=True)})
        results[name] = distill(spec, tmp_path / name, stores=Stores(tmp_path / "stores"))
        again = distill(spec, tmp_path / f"{name} again", stores=Stores(tmp_path / "stores"))
        assert again.teacher_forwards == 0
    onnx_result, torch_result = results.values()
    assert onnx_result.teacher_validation.top1 == torch_result.teacher_validation.top1
    assert onnx_result.teacher_validation.loss == pytest.approx(torch_result.teacher_validation.loss, rel=1e-3)
    assert load_student(tmp_path / "student.onnx" / "out" / "student.safetensors").class_names
    report = json.loads((tmp_path / "student.onnx" / "out" / "report.json").read_text())
    assert report["teacher"]["architecture"] == "onnx"
    assert report["teacher"]["macs"] is None
