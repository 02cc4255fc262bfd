# From asynchronous/resources/measurements.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Measurements of jobs' ONNX artifacts, and devices that measure them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttm_client.local_files import expanded
from ttm_client.models.base import ApiModel
from ttm_client.models.measurements import Device, JobMeasurements, Measurement, MeasurementRequest
from ttm_client.options import items
from ttm_client.protocol import segment
from ttm_client.references import JobReference, device_name, request_id
from ttm_client.responses import read, read_items
from ttm_client.synchronous.download import download
from ttm_client.synchronous.references import job_id, job_path
from ttm_client.synchronous.transport import Transport


class _Claim(ApiModel):
    request: MeasurementRequest | None


class Measurements:
    """Lists and adds measurements of jobs' ONNX artifacts.

    >>> (client.measurements.list(done.id)).items
    ()
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, job: JobReference) -> JobMeasurements:
        """Returns the measurements of all devices, and the file to ship on each. Raises NotFound.

        >>> (client.measurements.list(done.id)).recommendations
        ()
        """
        response = self._transport.request("GET", job_path(self._transport, job) + "/measurements")
        return read(JobMeasurements, response)

    def create(self, job: JobReference, *, artifact: str, device: str, values: Mapping[str, Any]) -> Measurement:
        """Adds a measurement of an artifact on a device; replaces an earlier one of the same batch size and threads.

        `values` has the fields of `ttm_measure.Measurement`. Needs a key with scope `measure` or `submit`. Raises
        NotFound for an unknown artifact, and InvalidRequest for another file's hash or inconsistent numbers.

        >>> try:
        ...     client.measurements.create(done.id, artifact="student.onnx", device="pi5", values={})
        ... except InvalidRequest as error:
        ...     print(error.errors[0].pointer)
        /sha256
        """
        body = {"artifact": artifact, "device": device, **values}
        response = self._transport.request("POST", job_path(self._transport, job) + "/measurements", body=body)
        return read(Measurement, response)


class Devices:
    """Lists devices, requests measurements on them, and serves their agents.

    >>> [device.name for device in client.devices.list()]
    []
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[Device]:
        """Yields the devices that measured artifacts of the project or polled for work, by name.

        >>> client.devices.claim("pi5")
        >>> [(device.name, device.pending_requests) for device in client.devices.list()]
        [('pi5', 0)]
        """
        response = self._transport.request("GET", "/devices")
        yield from read_items(Device, response)

    def request(
        self, device: str | Device, job: JobReference, *, batches: Sequence[int] = (1, 32)
    ) -> tuple[MeasurementRequest, ...]:
        """Asks a device's agent (`ttm bench --agent`) to measure a job's ONNX artifacts, with one thread and with all
        cores. Raises NotFound for a job without ONNX artifacts.

        >>> try:
        ...     client.devices.request("pi5", done.id)
        ... except NotFound as error:
        ...     print(error.code)
        artifact_not_found
        """
        body = {"job_id": job_id(self._transport, job), "batches": items(batches)}
        response = self._transport.request("POST", _path(device) + "/requests", body=body)
        return read_items(MeasurementRequest, response)

    def claim(self, device: str | Device) -> MeasurementRequest | None:
        """Claims the oldest request of a device for ten minutes; None if there is none. For agents.

        >>> client.devices.claim("pi5")
        """
        response = self._transport.request("POST", _path(device) + "/claim")
        return read(_Claim, response).request

    def download(self, work: MeasurementRequest, path: str | os.PathLike[str]) -> Path:
        """Downloads the ONNX file of a request to `path` and verifies its SHA-256. ChecksumMismatch leaves no file.

        >>> work = client.devices.claim("pi5")
        >>> work and client.devices.download(work, "model.onnx")
        """
        return download(self._transport, work.href, expanded(path), sha256=work.sha256, size=work.size)

    def complete(
        self, device: str | Device, request: str | MeasurementRequest, values: Mapping[str, Any]
    ) -> MeasurementRequest:
        """Posts the result of a request; `values` has the fields of `ttm_measure.Measurement`. Raises NotFound, and
        InvalidRequest for another file or inconsistent numbers.

        >>> try:
        ...     client.devices.complete("pi5", "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10", {})
        ... except InvalidRequest as error:
        ...     print(error.errors[0].pointer)
        /sha256
        """
        response = self._transport.request("POST", _request_path(device, request) + "/result", body=values)
        return read(MeasurementRequest, response)

    def fail(self, device: str | Device, request: str | MeasurementRequest, error: str) -> MeasurementRequest:
        """Reports why the file of a request was not measured. Raises NotFound.

        >>> try:
        ...     client.devices.fail("pi5", "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10", "not enough memory")
        ... except NotFound as error:
        ...     print(error.code)
        measurement_request_not_found
        """
        path = _request_path(device, request) + "/failure"
        response = self._transport.request("POST", path, body={"error": error})
        return read(MeasurementRequest, response)


def _path(device: str | Device) -> str:
    return "/devices/" + segment(device_name(device))


def _request_path(device: str | Device, request: str | MeasurementRequest) -> str:
    return f"{_path(device)}/requests/{segment(request_id(request))}"
