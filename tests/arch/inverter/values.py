"""Values of the inverter."""

__all__ = ["UNIT", "Invert"]


class Invert:
    """Keeps nothing between commands."""

    def __init__(self, geometry):
        pass

    @staticmethod
    def rows(config, rows):
        return rows

    @staticmethod
    def problems(config):
        yield from ()

    def step(self, config, q):
        return 255 - q if config.enable else q


UNIT = Invert
