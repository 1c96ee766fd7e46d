"""When jobs run, as the compiler estimates it."""
import pytest

from arch.geometry import PRESETS, Geometry
from arch.instruction import Opcode
from compiler.build import compile_network
from compiler.jobs.timing import timeline
from nets.load import load_model
from nets.quantise import outline

TINY = Geometry(input_lanes=4, output_lanes=4, activation_words=512, weight_words=512, band_pixels=64)


@pytest.mark.parametrize("geometry, spills", [(PRESETS["85f"], False), (TINY, True)], ids=["whole", "spills"])
def test_a_store_takes_a_cycle_of_the_array_for_each_word_that_it_reads_beside_it(geometry, spills):
    jobs = compile_network(outline(load_model("digits")), geometry).jobs
    spans = timeline(geometry, jobs)
    lent = sum(spans[job].end - spans[job].start - job.step.cycles for job in jobs.computes)
    stored = sum(job.body.words * job.body.runs for job in jobs.jobs if job.opcode is Opcode.STORE)
    beside = [job for job in jobs.jobs if job.opcode is Opcode.STORE
              and any(spans[job].start < spans[one].end and spans[one].start < spans[job].end for one in jobs.computes)]
    assert bool(beside) == spills == (lent > 0)
    assert lent <= stored + 1e-6
