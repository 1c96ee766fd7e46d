"""What belongs to the memory beside the chip."""
