"""What `sim.run` prints fits a terminal of 80 columns, whole words in it."""
from io import StringIO

from rich.console import Console

from host.queues import COUNTED
from sim.summary import show_queues


def test_the_table_of_queues_fits_80_columns():
    """Of a frame of hundreds of millions of cycles, too."""
    entry = {name: 987_654_321 for name in COUNTED} | {"commands": 123_456, "late_commands": 23_456, "most_cycles_off": 34_567}
    said = StringIO()
    show_queues(Console(file=said, width=200), dict.fromkeys(("load", "store", "gather", "compute"), entry))
    table = said.getvalue().splitlines()
    assert max(map(len, table)) <= 80
    assert "waits for" in table[0] and "its unit" in table[1] and table[5].count("987,654,321") == 3
