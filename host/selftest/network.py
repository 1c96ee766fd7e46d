"""The engine under test: the embedded network against the reference, value by value."""
from functools import cache

import numpy as np

from arch.geometry import Geometry
from arch.program import Program
from compiler.build import compile_network
from golden.machine import execute
from host.engine import engine_of
from host.link import LinkError
from host.runner import Runner
from host.selftest.finding import Check, Finding
from host.session import Session
from host.tensors import output_of, quantised_input
from nets import digits
from nets.load import load_model
from nets.preprocess import InputSpec, find_images, load_image
from nets.quantise import quantise_with

__all__ = ["test_network"]

_IMAGES, _FRAMES = 3, 3


@cache
def _program(geometry: Geometry, storage_words: int) -> Program:
    return compile_network(quantise_with(load_model("digits")), geometry, storage_words=storage_words).program


def test_network(session: Session) -> Check:
    """Raises LinkError as the session does, but not if the machine stops or storage does not hold the program."""
    identity, name = session.info.identity, "network"
    if not identity.digest:
        return Check(name=name, skipped="this chip has no engine")
    try:
        geometry = engine_of(identity.digest)
    except LinkError:
        return Check(name=name, skipped="the engine is of no board or preset here")
    program = _program(geometry, identity.storage_words)
    runner = Runner(session, program)
    try:
        runner.load()
        frames = 0
        for image in find_images(digits.IMAGES)[:_IMAGES]:
            q = quantised_input(program, load_image(image, InputSpec.from_json(program.meta["spec"])))
            output = program.output
            wanted = output_of(program, execute(program, q).storage[output.address:output.address + output.words])
            for _ in range(_FRAMES):
                frame, frames = runner.run(q), frames + 1
                if not np.array_equal(frame.output, wanted):
                    wrong = int(np.count_nonzero(frame.output != wanted))
                    return Check(name=name, covered=f"{frames} frames of digits", findings=[_finding(
                        f"frame {frames} of digits has {wrong} of {wanted.size} values other than the reference's")])
    except LinkError as error:
        return Check(name=name, covered="digits", findings=[_finding(str(error))])
    return Check(name=name, covered=f"{frames} frames of digits equal the reference, {frame.cycles:,} cycles the last one")


def _finding(seen: str) -> Finding:
    return Finding(names=("engine",), seen=seen,
                   means="storage gives wrong words under load, the clock is higher than the chip keeps, or its supply sags",
                   try_="look at the findings of the memory first; build at a lower clock (--freq); measure the 1.1 V of the "
                        "FPGA while it computes")
