"""Exports jobs that have ended to an MLflow server, if one is configured."""

from worker.dispatcher.mlflow.exporter import Exporter

__all__ = ["Exporter"]
