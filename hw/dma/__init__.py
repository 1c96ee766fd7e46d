"""Moves words between storage and the memories of the engine."""
