"""What slots in flash need beside their bytes: a journal of what is being written, and signatures."""
