"""Runs cocotb benches on a component: compiled once, Python asleep between beats."""
from collections.abc import Callable, Mapping
from pathlib import Path
import tempfile
import warnings
import xml.etree.ElementTree

from amaranth.lib import wiring
from cocotb_tools.runner import get_runner

from sim.verilog.export import Boundary, SimulationError, convert
from sim.verilog.verilate import BUILD, executable

__all__ = ["compile_bench", "run_bench"]


def compile_bench(component: wiring.Component, *, probes: Callable[[], Mapping[str, Boundary]] | None = None,
                  build: Path = BUILD) -> Path:
    """The program that simulates the component for cocotb, kept in `build` under the digest of its Verilog.

    Boundaries made visible by `probes` are ports `probe_<name>__valid`, `__ready`, `__payload`. Raises SimulationError.
    """
    return executable(convert(component, probes=probes), build).resolve()


def run_bench(program: Path, module: str, *, test: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Runs the cocotb tests of `module` (or only `test`) on a design from `compile_bench`, in a process of its own; returns
    its log. `environment` reaches the tests through `os.environ`. Raises SimulationError with the failed tests and the end of
    the log."""
    with tempfile.TemporaryDirectory(prefix="bench.") as work:
        log, results = Path(work).resolve() / "log", Path(work).resolve() / "results.xml"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)     # of the runner, not of ours
            status = 0
            try:
                get_runner("verilator").test(module, hdl_toplevel=program.name, hdl_toplevel_lang="verilog", testcase=test,
                                             build_dir=program.parent, test_dir=work, results_xml=str(results), log_file=log,
                                             extra_env=dict(environment or {}))
            except SystemExit as exit:              # the runner's way to say that the simulator failed
                status = exit.code
        text = log.read_text() if log.exists() else ""
        failed = _failures(results)
    if status or failed is None or failed:
        reason = ", ".join(failed) if failed else f"no results, exit status {status}"
        raise SimulationError(f"bench {module} failed: {reason}\n" + "\n".join(text.splitlines()[-40:]))
    return text


def _failures(results: Path) -> list[str] | None:
    """Names of the failed tests; None if the file is missing or lists no test at all."""
    if not results.exists():
        return None
    cases = list(xml.etree.ElementTree.parse(results).iter("testcase"))
    if not cases:
        return None
    return [case.get("name", "?") for case in cases if case.find("failure") is not None or case.find("error") is not None]
