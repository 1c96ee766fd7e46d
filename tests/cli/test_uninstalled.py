"""A command where nothing is installed says how to install it, in one line."""
from pathlib import Path
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["golden.run", "hw.build", "sim.run", "host.info", "fireline"])
def test_one_line_says_how_to_set_up(module):
    plain = subprocess.run([sys.executable, "-S", "-m", module], cwd=Path(__file__).resolve().parents[2], text=True,
                           stderr=subprocess.PIPE)
    assert plain.returncode == 1
    assert plain.stderr.startswith("error: No module named") and "pip install -e ." in plain.stderr
    assert plain.stderr.count("\n") == 1
