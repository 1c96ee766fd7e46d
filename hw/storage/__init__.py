"""Storage of 16-bit words: SDRAM controller, block RAM, and the arbiter in front of them."""
