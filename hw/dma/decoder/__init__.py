"""The decoder of compressed weights (docs/weight_stream.md)."""
