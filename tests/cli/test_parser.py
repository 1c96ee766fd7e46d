"""Arguments that are wrong are one line, whichever command they are of."""
import pytest

from cli import Parser
from cli.command import positive
from tests.test_layout import ROOT, SOURCES


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="python -m some.thing")
    parser.add_argument("--count", type=positive, required=True)
    parser.add_argument("--kind", choices=("a", "b"))
    return parser


@pytest.mark.parametrize("words, said", [
    ([], "the following arguments are required: --count"), (["--count"], "argument --count: expected one argument"),
    (["--count", "x"], "argument --count: must be a positive number, not 'x'"),
    (["--count", "1", "--kind", "c"], "argument --kind: invalid choice: 'c' (choose from "),
    (["--count", "1", "more", "--other"], "unrecognized arguments: more --other")])
def test_one_line_and_where_to_read_more(parser, words, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(words)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {said}") and err.endswith(" (python -m some.thing --help says more)\n")
    assert err.count("\n") == 1


def test_no_other_parser_is_made():
    made = [path.relative_to(ROOT) for path in SOURCES if "ArgumentParser(" in path.read_text(encoding="utf-8")]
    assert not made
