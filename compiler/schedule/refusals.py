"""What of the activation memory stands against a network, stage by stage."""
from compiler.schedule.orders import alone
from compiler.schedule.plan import Residencies, Room
from compiler.stages import Stages
from nets.graph import Problem

__all__ = ["beside", "too_little_memory"]


def _least_words(residencies: Residencies, number: int) -> int:
    """Activation words of the smallest band of a stage, sources and target in rings."""
    stage = residencies.stages.stages[number]
    sizes = []
    for order in alone(residencies.geometry, stage):
        parts = [residencies.of(order, buffer, number, whole=False, room=Room.LEAST)
                 for buffer in {*stage.inputs, stage.target.buffer}]
        if all(parts):
            sizes.append(sum(resident.size for part in parts for resident in part))
    return min(sizes, default=0)


def too_little_memory(stages: Stages, residencies: Residencies, words: int) -> list[Problem]:
    """Every stage whose smallest band takes more than so many words, whatever else is on the chip; not those refused already."""
    problems = []
    for number, stage in enumerate(stages.stages):
        least = 0 if stage in stages.refused else _least_words(residencies, number)
        if least > words:
            problems.append(Problem(stage.layer, stage.op,
                                    f"activation memory (activation_words) must have at least {least} words for its smallest "
                                    f"band, not {words}: {least - words} are missing"))
    return problems


def beside(stages: Stages, residencies: Residencies, words: int, number: int, held: int) -> Problem:
    """That a stage does not fit beside so many words `held` for later ones."""
    missing = _least_words(residencies, number) + held - words
    stage = stages.stages[number]
    return Problem(stage.layer, stage.op,
                   f"activation memory (activation_words) must hold its bands beside {held} words that later layers read, and "
                   f"has {words}: at least {max(missing, 1)} are missing")
