"""A network on a board: cycles, latency and size without a tool, and frames on the RTL, held against golden."""
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from boards import Board
from compiler.build import compile_network
from compiler.figures import figures
from compiler.lowering.needs import needed
from compiler.stages import NetworkError
from golden import account
from hw.tools.bitstream import part_of
from hw.tools.estimate import resources
from nets.int8.network import QNetwork
from sim.frame import FrameBench, predict
from sim.run import check_frame

__all__ = ["estimated", "serving", "simulated"]

DEADLINE = 100          # times the cycles that a frame takes at least


def serving(board: Board, network: QNetwork) -> Board:
    """The board with the optional units that the network needs."""
    return replace(board, geometry=board.geometry.with_options(needed(network, board.geometry)))


def estimated(network: QNetwork, board: Board) -> dict:
    """What a board (`serving`) makes of a network: `cycles` of the first frame and of those behind it, `ms` of both, `clock_mhz`,
    `units`, `resources` by name; or `refused`."""
    try:
        compiled = compile_network(network, board.geometry, storage_words=board.storage_words, timing=board.timing)
    except NetworkError as error:
        return {"refused": [str(problem) for problem in error.problems]}
    data = figures(compiled, network, board.timing, board.storage_words)
    cycles = [data["cycles"], data["cycles_again"]]
    clock_mhz = float(board.pll.clock_mhz)
    return {"cycles": cycles, "ms": [count / clock_mhz / 1000 for count in cycles], "clock_mhz": clock_mhz,
            "kept": compiled.program.again is not None, "units": list(board.geometry.options),
            "resources": resources(board.geometry, part_of(board.platform()).die, None if board.chips else board.storage_words)}


def simulated(network: QNetwork, board: Board, q: np.ndarray, status: Callable[[int], None] | None = None) -> dict:
    """A frame and one behind it on the RTL: `cycles` of both, those `predicted` for the first, and `wrong`: elements of any layer
    that differ from golden, commands of the first frame in another cycle than predicted on top of them."""
    program = compile_network(network, board.geometry, storage_words=board.storage_words, timing=board.timing).program
    expected = max(sum(account.program_beats(program)), sum(account.least_words(program).values()))
    with FrameBench(program.geometry, timing=board.timing, words=board.storage_words) as bench:
        bench.load(program)
        frames = [bench.run(q, status=status, deadline=DEADLINE * expected) for _ in range(2)]
    foretold = predict(program, timing=board.timing, words=board.storage_words, start=frames[0].start)
    wrong = sum(check_frame(network, frame.program, q, frame).mismatches for frame in frames)
    return {"cycles": [frame.cycles for frame in frames], "predicted": foretold.cycles,
            "wrong": wrong + sum(foretold.late(frames[0]).values())}
