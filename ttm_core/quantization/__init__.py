"""Int8 quantization of exported ONNX files."""
