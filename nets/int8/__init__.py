"""Integer networks: from floats to int8, what they must hold to, and their files."""
