"""Weights become shorter: tables that suit them, and blocks in the format of arch.weight_stream."""
