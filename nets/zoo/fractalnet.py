"""FractalNet (Larsson et al., arXiv:1605.07648): columns of different depth whose outputs are joined by their mean."""
from nets.graph import Graph
from nets.zoo.builder import Builder

__all__ = ["fractalnet"]

WIDTHS = 64, 128, 256, 512, 512


def fractalnet(name: str, shape: tuple[int, int, int], classes: int, *, columns: int = 3) -> Graph:
    """The paper's network for CIFAR: five blocks of `columns` columns, each followed by a 2x2 max pool."""
    net = Builder(shape)
    x = net.input
    for block, width in enumerate(WIDTHS, start=1):
        x = net.max_pool(f"pool{block}", _fractal(net, f"block{block}", x, width, columns), 2, 2)
    return net.graph(name, net.linear("fc", x, classes))


def _fractal(net: Builder, at: str, x: str, width: int, columns: int) -> str:
    """A block, f(c) = f(c - 1) after f(c - 1), joined with one convolution. Column c has 2^c convolutions; a join lies wherever
    several columns end."""
    heads, layers = [x] * columns, 1 << columns - 1
    for row in range(1, layers + 1):
        ending = [c for c in range(columns) if row % (layers >> c) == 0]
        for c in ending:
            heads[c] = net.conv_norm(f"{at}.column{c + 1}.conv{row}", heads[c], width, 3, padding=1, activation="relu")
        if len(ending) > 1:
            total = heads[ending[0]]
            for c in ending[1:]:
                total = net.sum(f"{at}.row{row}.add{c + 1}", total, heads[c])
            joined = net.scale(f"{at}.row{row}.mean", total, 1 / len(ending))
            for c in ending:
                heads[c] = joined
    return heads[0]
