"""What comes to the chip: that no load keeps those behind it from coming while it waits for what they are for."""
from arch.geometry import Geometry
from arch.instruction import Opcode
from arch.transfer import PIXELS
from boards import find
from compiler.build import compile_network
from compiler.figures import figures
from nets.load import load_model
from nets.quantise import outline
from tests.nets.onnx.cases import model, node, save, weights

SMALL = Geometry(input_lanes=8, output_lanes=4, activation_words=2048, weight_words=512, band_pixels=256)
TIMING = find("ulx3s").timing


def test_pixels_that_the_fifo_has_no_room_for_come_when_the_gather_can_begin(tmp_path):
    # The windows' rows are overwritten chunk by chunk of the convolution, whose weights come behind the pixels of the next rows.
    nodes = [node("Conv", "x w", "c", kernel_shape=[7, 7], strides=[4, 4]), node("Relu", "c", "r"), node("Conv", "r v", "d"),
             node("GlobalAveragePool", "d", "y")]
    path = save(tmp_path, model(nodes, weights(w=(64, 3, 7, 7), v=(16, 64, 1, 1)), shape=(1, 3, 60, 300)))
    network = outline(load_model(str(path)))
    compiled = compile_network(network, SMALL)
    loads, room, gathers = [], 0, 0
    for job in compiled.jobs.jobs:
        if job.opcode is Opcode.LOAD_PIXELS:
            room += job.body.rows * job.body.width
            loads.append((job, room > PIXELS))
        elif job.opcode is Opcode.GATHER:
            assert all(job.after <= load.after for load, late in loads if late)
            gathers += any(late for _, late in loads) and bool(job.after)
            loads, room = [], 0
    assert gathers
    assert figures(compiled, network, TIMING, 1 << 24)["cycles"]        # raises ValueError where a program waits for ever
