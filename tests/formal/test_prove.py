"""The runner: true, false and vacuous claims, and tools that fail."""
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
import pytest

from formal import yosys_abc
from formal.__main__ import main
from formal.prove import Claim, bounded, cover, prove


class Counter(Claim):
    """Counts 0..9 when told to; claimed to stay below `limit`."""

    def __init__(self, limit: int, reached: int = 9, idle: bool = False):
        super().__init__()
        self.limit, self.reached, self.idle = limit, reached, idle

    def state(self, m: Module) -> None:
        step, count = self.free(1, "step"), Signal(4)
        with m.If(step):
            m.d.sync += count.eq(Mux(count == 9, 0, count + 1))
        m.d.comb += [Assert(count < self.limit), Cover(count == self.reached)]
        if self.idle:
            m.d.comb += Assume(~step)


def test_a_true_claim_is_proved():
    assert prove(lambda: Counter(10)).holds is True
    assert bounded(lambda: Counter(10), 12).holds is True
    assert cover(lambda: Counter(10), 12).holds is True


def test_a_false_claim_is_refuted():
    assert prove(lambda: Counter(9)).holds is False
    assert bounded(lambda: Counter(9), 12).holds is False


def test_a_bound_is_a_bound():
    assert bounded(lambda: Counter(9), 9).holds is True         # 9 is reached in the tenth cycle
    assert bounded(lambda: Counter(9), 10).holds is False


def test_a_vacuous_claim_has_an_unreached_cover():
    assert prove(lambda: Counter(1, idle=True)).holds is True
    assert cover(lambda: Counter(1, idle=True), 20).holds is False


@pytest.mark.parametrize("arguments", [[], ["-c"], ["-x", "pdr"]])
def test_the_abc_adapter_takes_commands_only(arguments, capsys):
    assert yosys_abc.main(arguments) == 2
    assert "takes -c and a list of commands" in capsys.readouterr().err


def test_the_abc_adapter_says_when_there_is_no_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert yosys_abc.main(["-c", "read_aiger missing.aig; pdr; write_cex -a trace.aiw"]) == 1
    assert "no verdict" in capsys.readouterr().err


def test_the_command(tmp_path, capsys):
    assert main(["--only", "credits", "--json", str(tmp_path / "verdicts.json")]) == 0
    assert "1 of 1" in capsys.readouterr().out
    assert main(["--only", "slot", "--depth", "-1"]) == 2
    assert "--depth must be at least 0, not -1" in capsys.readouterr().err
    assert main(["--only", "nothing"]) == 2
    assert "--only must name claims of" in capsys.readouterr().err
