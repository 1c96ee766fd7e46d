"""Cycles of the SDRAM controller: cases reckoned by hand, and what every list of requests must obey."""
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from arch.sdram import CHIPS
from golden.cycles.sdram import Request, SdramCycles, serve

TIMING = CHIPS["as4c32m16sb-7"].timing(142)         # rcd 3, rp 3, ras 6, rc 9, rfc 9, wr 2, CAS latency 3; rows of 1024 words
LATE = replace(TIMING, power_up=60, interval=100_000)       # no refresh soon


def read(address: int, length: int, offered: int = 0) -> Request:
    return Request(write=False, address=address, length=length, offered=offered)


def write(address: int, length: int, offered: int = 0) -> Request:
    return Request(write=True, address=address, length=length, offered=offered)


def words(timing, *requests) -> list[list[int]]:
    return [one.words.tolist() for one in serve(timing, requests)]


def test_first_word():
    """Taken 1000, segment 1003, looked up, activate 1007, offered 1010, column 1011; pins 4, chip 3, input register 1."""
    assert words(LATE, read(0, 3, 1000)) == [[1019, 1020, 1021]]
    assert words(replace(LATE, pin_registers=1), read(0, 1, 1000)) == [[1021]]
    assert words(replace(LATE, late=1), read(0, 1, 1000)) == [[1020]]


def test_next_row_costs_one_cycle():
    """Words 0..1023 are in bank 0, the next row in bank 1: its activate takes the place of one column, once the segment that
    was offered three cycles after the first one's taking could be looked up."""
    (got,) = words(LATE, read(0, 2000, 1000))
    gaps = np.flatnonzero(np.diff(got) > 1)
    assert len(gaps) == 1 and got[-1] - got[0] == 2000


def test_other_row_of_the_bank():
    """Row 1 of bank 0 behind row 0: last column 1011, precharge two cycles later, activate 3, offered 3, column 1."""
    first, second = words(LATE, read(0, 1, 1000), read(4096, 1, 1001))
    # taken 1012 (the row unit waits again), looked up by 1016
    assert (first, second) == ([1019], [1012 + 4 + 3 + 3 + 1 + 8])


def test_writing_waits_for_the_bus():
    """Words are asked for in the cycle after the column was decided."""
    first, second = words(LATE, read(0, 8, 1000), write(8, 3, 1001))
    assert second[0] == first[-1] - TIMING.read + TIMING.turnaround + 1
    assert words(LATE, write(0, 3, 1000)) == [[1012, 1013, 1014]]


def test_refresh_stops_the_words():
    """Stopped in cycle h, precharge h + 2, refresh 3 later, activate 9 later, column 3 + 1 + 1 later."""
    hold = TIMING.first_refresh
    (got,) = words(TIMING, read(0, 900, hold - 100))
    columns = np.array(got) - TIMING.read
    assert np.flatnonzero(np.diff(columns) > 1).tolist() == [np.flatnonzero(columns == hold)[0]]
    assert columns[columns > hold][0] == hold + 2 + 3 + 9 + 3 + 1


def test_empty_requests_take_two_cycles():
    assert [one.taken for one in serve(LATE, [read(0, 0), write(5, 0), read(0, 1, 9)])] == [0, 2, 9]


def test_later_requests_leave_earlier_words_alone():
    """Request by request, with all words decided before the next is offered, or all at once."""
    rng = np.random.default_rng(2)
    sdram, requests, served = SdramCycles(TIMING), [], []
    for _ in range(60):
        offered = int(served[-1].words[-1]) + int(rng.integers(0, 3000)) if served else 0
        requests.append(Request(write=bool(rng.integers(2)), address=int(rng.integers(1 << TIMING.address_bits)),
                                length=int(rng.integers(1, 3000)), offered=offered))
        served.append(sdram.request(requests[-1]))
        sdram.finish()
    together = serve(TIMING, requests)
    assert [one.words.tolist() for one in served] == [one.words.tolist() for one in together]


CLOCKS = (25, 50, 100, 142)


@pytest.mark.parametrize("clock_mhz", CLOCKS)
@pytest.mark.parametrize("name", CHIPS)
def test_long_reads_use_95_percent_of_the_clocks(name, clock_mhz):
    timing = CHIPS[name].timing(clock_mhz)
    pages = serve(timing, [read(1000 + 2048 * n, 2048) for n in range(64)])
    (long,) = serve(timing, [read(123, 1 << 16)])
    for got in (np.concatenate([page.words for page in pages]), long.words):
        assert len(got) >= 0.95 * (got[-1] - got[0] + 1)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(st.lists(st.builds(Request, write=st.booleans(), address=st.integers(0, (1 << 25) - 1), length=st.integers(0, 5000),
                          offered=st.integers(0, 100_000)), min_size=1, max_size=12))
def test_words_go_one_a_cycle_in_order(requests):
    served = serve(TIMING, requests)
    assert [len(one.words) for one in served] == [request.length for request in requests]
    columns = np.concatenate([one.words - (1 if one.request.write else TIMING.read) for one in served])
    assert (np.diff(columns) > 0).all()
    assert all(one.taken >= request.offered for one, request in zip(served, requests, strict=True))
    # Everything stops for the refreshes.
    phase = (columns - TIMING.first_refresh) % TIMING.period
    assert not ((columns > TIMING.first_refresh) & (phase > 0) & (phase < 2 + TIMING.rp + TIMING.rfc)).any()


@pytest.mark.parametrize(("request_", "message"), [
    (read(1 << 25, 1), "Address must be 0..33554431 words, not 33554432"), (read(-1, 1), "Address must be 0..33554431"),
    (read(0, 1 << 17), "Length must be 0..131071 words, not 131072"), (read(0, -1), "Length must be 0..131071 words, not -1")])
def test_refuses_what_the_controller_cannot_be_given(request_, message):
    with pytest.raises(ValueError, match=message):
        serve(TIMING, [request_])
