"""What stores and loads cost each other in the compiler's estimate, and which of them comes first."""
import pytest

from arch.geometry import Geometry
from arch.instruction import Opcode, Transfer
from compiler import costs
from compiler.build import compile_network
from compiler.jobs.emit import arrange
from compiler.jobs.job import Job
from compiler.jobs.stores import Stores
from compiler.jobs.timing import timeline
from nets.load import load_model
from nets.quantise import outline

TINY = Geometry(input_lanes=4, output_lanes=4, activation_words=512, weight_words=512, band_pixels=64)
BODY = Transfer(storage=0, chip=0, words=100, runs=1, storage_step=0, chip_step=0)


def _stores(wanted: int) -> tuple[Stores, Job, Job]:
    """Stores with one from cycle 100 to 900, whose words are overwritten for compute job `wanted`; it, and one more to add."""
    store, other = Job(Opcode.STORE, BODY, 1), Job(Opcode.STORE, BODY, 1)
    stores = Stores([store, other, Job(Opcode.LOAD_WEIGHTS, BODY, wanted, {store})], {})
    assert stores.add(store, 100, 800, loading=0) == 0
    return stores, store, other


def test_a_load_lets_a_store_pass_that_is_wanted_earlier():
    stores, store, _ = _stores(wanted=5)
    span = stores.load(Job(Opcode.LOAD_WEIGHTS, BODY, 6), 300, 50)
    assert (span.start, span.end, span.behind) == (900 + costs.TOKEN_CYCLES, 950 + costs.TOKEN_CYCLES, store)
    assert stores.spans[store].end == 900


@pytest.mark.parametrize("need, start", [(5, 300), (4, 300), (6, 99), (6, 900)], ids=["as early", "earlier", "before", "behind"])
def test_no_load_waits_for_a_store_that_is_wanted_later_or_not_under_way(need, start):
    stores, _, _ = _stores(wanted=5)
    span = stores.load(Job(Opcode.LOAD_WEIGHTS, BODY, need), start, 50)
    assert span.start == start and span.behind is None


@pytest.mark.parametrize("cycles", [60, 300, 2000, 9000])
@pytest.mark.parametrize("first", ["store", "load"])
def test_storage_has_as_much_to_do_whoever_comes_first(cycles, first):
    # Together they take as long as one after the other, and each of them is later than alone.
    stores, store, other = _stores(wanted=9)
    if first == "store":
        end = stores.load(Job(Opcode.LOAD_WEIGHTS, BODY, 2), 300, cycles).end
        assert 300 + cycles < end
        assert max(end, stores.spans[store].end) == pytest.approx(900 + cycles)
        assert stores.free == stores.spans[store].end > 900
    else:
        late = stores.add(other, 300, 500, loading=cycles)      # behind the first store
        assert 0 < late <= 500
        assert max(900 + cycles + late, stores.spans[other].end) == pytest.approx(900 + 500 + cycles)


def test_stores_behind_one_that_is_delayed_are_as_late_but_keep_their_order():
    stores, store, other = _stores(wanted=9)
    stores.add(other, 200, 100, loading=0)
    stores.load(Job(Opcode.LOAD_WEIGHTS, BODY, 2), 300, 60)
    assert stores.spans[store].end == pytest.approx(960) and stores.spans[other].end == pytest.approx(1060)
    assert (stores.spans[store].start, stores.spans[other].start) == (100, 900)


def test_the_program_has_loads_wait_for_the_stores_that_they_let_pass():
    geometry = TINY
    jobs = compile_network(outline(load_model("digits")), geometry).jobs
    spans = timeline(geometry, jobs)
    behind = {job: span.behind for job, span in spans.items() if span.behind}
    assert behind and all(job.queue == "load" and store not in job.after for job, store in behind.items())
    seen = 0
    for job, waits in arrange(jobs, spans).items():
        seen = max(seen, waits.store) if job.queue == "load" else seen
        assert job not in behind or seen >= behind[job].token
