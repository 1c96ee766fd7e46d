"""What a record must keep to, for whoever carries it out."""

__all__ = ["UnitError", "require"]


class UnitError(ValueError):
    """A record that a unit cannot carry out, or that disagrees with another unit's."""


def require(condition, message: str) -> None:
    """Raises UnitError with the message unless the condition holds."""
    if not condition:
        raise UnitError(message)
