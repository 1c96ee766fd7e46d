"""Fixtures that all tests share."""
import itertools
import os
from pathlib import Path
import signal

from amaranth.sim import Simulator
import pytest

from sim.verilog.native import Design


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--waves", type=Path, metavar="DIR",
                     help="write every simulation of a test as a waveform to DIR/FILE-OF-TESTS/*.vcd")
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped for want of something fails the run")


def pytest_configure() -> None:
    # A shell ignores Ctrl-C for what it starts in the background, and so would the commands that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter and reporter.stats.get("skipped") and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True, scope="module")
def _waves(request: pytest.FixtureRequest):
    """With --waves: folders for what is simulated, one a file of tests. Designs are made by fixtures that tests share."""
    place = request.config.getoption("--waves")
    if place is None:
        yield
        return
    folder = (place / request.path.stem).resolve()
    run, numbers = Simulator.run, itertools.count()

    def recorded(simulator: Simulator) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with simulator.write_vcd(str(folder / f"python{next(numbers)}.vcd")):
            run(simulator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Design, "record", folder)
        patch.setattr(Simulator, "run", recorded)
        yield


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
