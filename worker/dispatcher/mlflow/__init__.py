"""Tells an MLflow server of jobs that ended, where the settings name one."""

from worker.dispatcher.mlflow.exporter import Exporter

__all__ = ["Exporter"]
