"""Images on the serial line, packed and not."""
