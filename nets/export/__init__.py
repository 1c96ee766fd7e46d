"""Quantised networks as ONNX files."""
