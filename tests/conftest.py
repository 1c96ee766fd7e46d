"""Fixtures that all tests share."""
import os
from pathlib import Path

import pytest

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real networks and photographs: FIRELINE_DATA, or ../shared beside the project."""
    named = os.environ.get("FIRELINE_DATA")
    folder = Path(named) if named else DEFAULT_DATA
    if (folder / "models").is_dir():
        return folder
    if named:
        pytest.fail(f"FIRELINE_DATA={named} holds no models/")
    pytest.skip(f"needs real networks and photographs: set FIRELINE_DATA ({folder} holds no models/)")
