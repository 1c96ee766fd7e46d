"""TFLite files: reading them, and what their operators become."""
