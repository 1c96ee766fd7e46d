"""ONNX files: reading, checking, folding, importing and writing."""
