"""The host's side of the chip: UART, frames, boot from flash."""
