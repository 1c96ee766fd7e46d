"""From a quantised network to stages: what runs together, where tensors lie in pixels, which convolutions the engine gets."""
