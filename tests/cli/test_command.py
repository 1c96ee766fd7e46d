"""Exit codes and messages that all commands share."""
from argparse import ArgumentTypeError, Namespace
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from cli import (
    OutputError,
    RequestError,
    RequestWarning,
    WorkError,
    needs_extra,
    positive,
    readable,
    run_command,
    write_bytes,
    write_json,
)


def raising(error: BaseException):
    def work(_: Namespace):
        raise error
    return work


@pytest.mark.parametrize("work, code, said", [
    (lambda args: None, 0, ""), (lambda args: 3, 3, ""),
    (raising(RequestError("x must be y")), 2, "error: x must be y\n"),
    (raising(OutputError("f: cannot be written: full")), 2, "error: f: cannot be written: full\n"),
    (raising(WorkError("yosys failed")), 1, "error: yosys failed\n"),
    (raising(FileNotFoundError(2, "No such file", "f")), 1, "error: f: No such file\n"),
    (raising(KeyboardInterrupt()), 130, "interrupted\n"),
    (raising(LookupError("its own")), 2, "error: its own\n"),
    (raising(UnicodeEncodeError("ascii", "aé", 1, 2, "")), 2,
     "error: 'é' cannot be written in ascii, as the locale wants it: set PYTHONUTF8=1\n"),
])
def test_exit_code_and_one_line(capsys, work, code, said):
    assert run_command(work, Namespace(), LookupError) == code
    assert capsys.readouterr() == ("", said)


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()), Namespace())
    with pytest.raises(ValueError, match="a bug"):      # RequestError is one, but not every ValueError is a request
        run_command(raising(ValueError("a bug")), Namespace())


def test_a_reader_that_has_seen_enough():
    script = ("import argparse, sys; from cli import run_command\n"
              "def work(args):\n    for n in range(100_000): print(n)\n"
              "sys.exit(run_command(work, argparse.Namespace()))")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1 and said == b""


def test_warnings_are_lines_and_not_too_many(capsys):
    def work(_: Namespace):
        for n in range(8):
            warnings.warn(f"image {n} is odd", RequestWarning, stacklevel=1)
    assert run_command(work, Namespace()) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [*(f"warning: image {n} is odd" for n in range(5)), "warning: 3 more of these"]


def test_an_absent_extra_is_named_and_a_broken_one_is_not_hidden(tmp_path, monkeypatch):
    with pytest.raises(WorkError, match=r"^the judge needs absent: pip install -e '\.\[bench\]'$"):
        needs_extra("absent.part", "bench", "the judge")
    (tmp_path / "broken_extra.py").write_text("import also_absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="also_absent"):
        needs_extra("broken_extra", "bench", "the judge")
    assert needs_extra("json", "bench", "the judge") is json


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "x", "٣", str(1 << 31)])
def test_positive_refuses(text):
    with pytest.raises(ArgumentTypeError, match="must be a positive number"):
        positive(text)


def test_files_are_whole_or_not_there(tmp_path):
    write_json(tmp_path / "r.json", {"a": np.arange(2), "b": np.float64(0.5), "é": ["[/b]"]})
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == {"a": [0, 1], "b": 0.5, "é": ["[/b]"]}
    with pytest.raises(ValueError):
        write_json(tmp_path / "r.json", {"a": float("nan")})
    assert "[/b]" in (tmp_path / "r.json").read_text(encoding="utf-8")
    with pytest.raises(OutputError, match="absent/r.json: cannot be written: No such file"):
        write_bytes(tmp_path / "absent" / "r.json", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_bytes_that_the_locale_does_not_know_are_read_as_utf8(tmp_path):
    assert readable("[/b] é") == "[/b] é"
    assert readable("é".encode().decode("ascii", "surrogateescape")) == "é"
    assert readable("\udcff.png") == "\ufffd.png"
    write_json(tmp_path / "r.json", {"image": "\udcff\udcc3\udca9"})
    assert json.loads((tmp_path / "r.json").read_bytes()) == {"image": "\ufffdé"}
