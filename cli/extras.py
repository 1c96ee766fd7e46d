"""What only some commands need, and a plain installation does not bring."""
from importlib import import_module
from types import ModuleType

from cli.errors import WorkError

__all__ = ["needs_extra"]


def needs_extra(module: str, extra: str, what: str) -> ModuleType:
    """The module, imported. Raises WorkError, saying what needs it and how to install it, where it is absent."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name != module.split(".")[0]:
            raise
        raise WorkError(f"{what} needs {module.split('.')[0]}: pip install -e '.[{extra}]'") from None
