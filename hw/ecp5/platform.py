"""What stands for a board when something is synthesised without one."""

__all__ = ["Ecp5"]


class Ecp5:
    """An ECP5 without pins. Primitives only ask whether there is a platform at all."""
