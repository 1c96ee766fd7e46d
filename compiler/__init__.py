"""From a quantised network to commands and memory images."""
