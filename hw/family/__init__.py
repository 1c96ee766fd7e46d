"""What a family of FPGAs has to fill in for the gateware."""
