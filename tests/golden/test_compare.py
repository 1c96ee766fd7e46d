"""What a program wrote, held against golden's tensors: whatever differs is counted, with the command that wrote it."""
from dataclasses import replace

import numpy as np
import pytest

from arch.geometry import Geometry
from compiler.build import compile_network
from golden import compare, values
from golden.machine import execute
from tests.sim.networks import averaged

SMALL = Geometry(input_lanes=8, output_lanes=4, activation_words=512, weight_words=512, band_pixels=64)


@pytest.fixture(scope="module")
def frame():
    """Of a mean that is kept from band to band: network, tensors, program, and what each command wrote."""
    network = averaged(5, 11, (40, 33))
    q = np.random.default_rng(5).integers(0, 256, (5, 40, 33), np.uint8)
    program = compile_network(network, SMALL).program
    return network, values.run(network, q, keep=network.by_name), program, execute(program, q).written


def test_means_so_far_are_golden_s(frame):
    network, tensors, program, written = frame
    said = [vectors[:len(part.channels)] for part, vectors in zip(program.parts, written, strict=True)
            if vectors.shape[1] and part.rows.stop < 40]
    assert len({vectors.tobytes() for vectors in said}) > 1         # they are no zeros
    assert not any(compare.mismatches(*frame))


@pytest.mark.parametrize("lane", [0, 2])
def test_every_command_is_looked_at(frame, lane):
    """A wrong element of any of them, also of a mean that another band will overwrite, counts once, and there."""
    network, tensors, program, written = frame
    for n, vectors in enumerate(written):
        if vectors.shape[1]:
            spoilt = vectors.copy()
            spoilt[lane, 0, 0] ^= 1
            counts = compare.mismatches(network, tensors, program, (*written[:n], spoilt, *written[n + 1:]))
            assert [at for at, count in enumerate(counts) if count] == [n] and counts[n] == 1


def test_a_band_that_is_missing_or_left_out_differs(frame):
    network, tensors, program, written = frame
    assert compare.mismatches(network, tensors, program, (written[0][:, :0], *written[1:]))[0] > 0
    *_, (n, part) = ((n, part) for n, part in enumerate(program.parts) if written[n].shape[1] and part.rows.stop < 40)
    late = replace(part, rows=range(part.rows.start, part.rows.stop + 1))
    other = replace(program, parts=(*program.parts[:n], late, *program.parts[n + 1:]))
    assert compare.mismatches(network, tensors, other, written)[n] > 0
