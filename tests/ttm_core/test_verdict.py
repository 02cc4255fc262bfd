"""The recommendation per device: every case of the comparison."""

import pytest

from ttm_core.spec.speed.verdict import ShippableFile, Timing, files_of, recommend

FLOAT = ShippableFile(file="student.onnx", precision="fp32", size=4_000_000, top1=0.9)
INT8 = ShippableFile(file="student-int8.onnx", precision="int8", size=1_000_000, top1=0.898)
HALF = ShippableFile(file="student-fp16.onnx", precision="fp16", size=2_000_000, top1=0.9)


def timing(file: ShippableFile, ms: float, device: str = "pi5", batch: int = 1, threads: int = 1, error: float = 0.01):
    return Timing(device=device, file=file.file, batch=batch, threads=threads, p50_ms=ms, relative_error=error)


def one(files, timings, **options):
    (found,) = recommend(files, timings, **options)
    return found


def test_faster_int8_within_the_accepted_drop_is_shipped():
    found = one([FLOAT, INT8], [timing(FLOAT, 4.0), timing(INT8, 2.0)])
    assert (found.file, found.precision, found.speedup) == ("student-int8.onnx", "int8", 2.0)
    assert (found.change_points, found.size_ratio) == (-0.2, 4.0)
    assert found.reason == (
        "Ship student-int8.onnx. int8 is 2.00× faster than float32 (2 ms instead of 4 ms) and 4.0× smaller; "
        "top-1 -0.20 points."
    )


def test_slower_int8_is_not_shipped():
    found = one([FLOAT, INT8], [timing(FLOAT, 4.0), timing(INT8, 5.2)])
    assert (found.file, found.speedup) == ("student.onnx", round(4 / 5.2, 4))
    assert found.reason == "Ship student.onnx. Do not ship int8 here: slower by 1.30× (5.2 ms instead of 4 ms)."


def test_inaccurate_int8_is_not_shipped_however_fast():
    worse = INT8.model_copy(update={"top1": 0.888})
    timings = [timing(FLOAT, 4.0), timing(INT8, 1.0)]
    found = one([FLOAT, worse], timings)
    assert found.file == "student.onnx"
    assert "it loses 1.20 points of top-1, more than the accepted 0.5" in found.reason
    assert one([FLOAT, worse], timings, accepted_drop=1.2).file == "student-int8.onnx"


def test_int8_of_unknown_accuracy_is_not_shipped():
    unknown = INT8.model_copy(update={"top1": None})
    found = one([FLOAT, unknown], [timing(FLOAT, 4.0), timing(INT8, 1.0)])
    assert (found.file, found.change_points) == ("student.onnx", None)


@pytest.mark.parametrize(("ms", "error"), [(3.9, 0.01), (4.1, 0.01), (4.6, 0.1)])
def test_smaller_file_is_shipped_where_the_speeds_do_not_differ(ms, error):
    found = one([FLOAT, INT8], [timing(FLOAT, 4.0, error=error), timing(INT8, ms, error=error)])
    assert found.file == "student-int8.onnx"
    assert "as fast as float32" in found.reason


def test_file_that_is_neither_faster_nor_smaller_is_not_shipped():
    large = INT8.model_copy(update={"size": 3_900_000})
    found = one([FLOAT, large], [timing(FLOAT, 4.0), timing(INT8, 4.0)])
    assert found.file == "student.onnx"
    assert "neither faster" in found.reason


def test_fastest_acceptable_file_of_several_is_shipped():
    bad = INT8.model_copy(update={"top1": 0.5})
    timings = [timing(FLOAT, 4.0), timing(INT8, 1.0), timing(HALF, 3.0)]
    assert one([FLOAT, INT8, HALF], timings).file == "student-int8.onnx"
    assert one([FLOAT, bad, HALF], timings).file == "student-fp16.onnx"


def test_smallest_of_equally_fast_files_is_shipped_and_the_others_have_their_reasons():
    timings = [timing(FLOAT, 4.0), timing(HALF, 1.98), timing(INT8, 2.0)]
    assert one([FLOAT, INT8, HALF], timings).file == "student-int8.onnx"
    worse = INT8.model_copy(update={"top1": 0.888})
    found = one([FLOAT, worse, HALF], timings)
    assert (found.file, found.precision, found.change_points) == ("student-fp16.onnx", "fp16", 0)
    assert found.reason == (
        "Ship student-fp16.onnx. float16 is 2.02× faster than float32 (1.98 ms instead of 4 ms) and 2.0× smaller; "
        "top-1 +0.00 points. Do not ship int8: it loses 1.20 points of top-1, more than the accepted 0.5."
    )
    slow = [timing(FLOAT, 4.0), timing(HALF, 6.0), timing(INT8, 2.0)]
    assert one([FLOAT, worse, HALF], slow).reason == (
        "Ship student.onnx. Do not ship int8: it loses 1.20 points of top-1, more than the accepted 0.5. "
        "Do not ship float16 here: slower by 1.50× (6 ms instead of 4 ms)."
    )


def test_only_measured_files_are_compared():
    found = one([FLOAT, INT8], [timing(FLOAT, 4.0)])
    assert (found.file, found.speedup) == ("student.onnx", None)
    assert "No int8 file was measured" in found.reason
    assert one([FLOAT, INT8], [timing(INT8, 4.0)]).file == "student-int8.onnx"
    assert recommend([FLOAT], [timing(INT8, 4.0)]) == []
    assert recommend([FLOAT, INT8], []) == []


def test_each_device_has_its_own_recommendation():
    timings = [timing(FLOAT, 4.0), timing(INT8, 2.0), timing(FLOAT, 4.0, "laptop"), timing(INT8, 8.0, "laptop")]
    assert {each.device: each.precision for each in recommend([FLOAT, INT8], timings)} == {
        "pi5": "int8",
        "laptop": "fp32",
    }


def test_comparison_is_at_the_smallest_shape_that_both_were_measured_at():
    timings = [
        timing(FLOAT, 4.0, batch=1),
        timing(FLOAT, 100.0, batch=32),
        timing(INT8, 50.0, batch=32),
        timing(FLOAT, 60.0, batch=32, threads=4),
        timing(INT8, 90.0, batch=32, threads=4),
    ]
    found = one([FLOAT, INT8], timings)
    assert (found.batch, found.threads, found.speedup) == (32, 1, 2.0)


def test_later_timing_replaces_an_earlier_one():
    timings = [timing(FLOAT, 4.0), timing(INT8, 2.0), timing(INT8, 8.0)]
    assert one([FLOAT, INT8], timings).file == "student.onnx"


def test_files_of_a_report():
    exports = [
        {"file": "student.onnx", "precision": "fp32", "size": 4_000_000, "top1": 0.9},
        {"file": "student-timm.zip", "precision": None, "size": 4_000_000, "top1": None},
        {"file": "student-int8.onnx", "precision": "int8", "size": None, "top1": None},
    ]
    assert files_of({"exports": exports}) == [FLOAT]
    assert files_of({}) == files_of({"exports": [{}]}) == files_of({"exports": None}) == []
