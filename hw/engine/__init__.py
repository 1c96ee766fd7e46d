"""The convolution engine: window generator, MAC array, requantiser, pool, global average, writer, and their memories."""
