import os

# ONNX Runtime reads this when it is imported. Its telemetry would connect to the vendor's server and log a warning.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
