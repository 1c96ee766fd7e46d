"""The ECP5: its cells as `hw.family.device.Device` wants them, its places, and the rules of its silicon."""
