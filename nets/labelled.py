"""Labelled images: which class a file shows, by its name or its folder's."""
from pathlib import Path
import re

from nets import digits
from nets.int8.network import QNetwork
from nets.preprocess import PreprocessError, find_images

__all__ = ["class_of", "has_images", "labelled_images", "own_images"]

LISTED = 5              # offenders that an error names


def labelled_images(folder: str | Path, classes: int, labels: tuple[str, ...] = (),
                    first: int = 0) -> list[tuple[Path, int]]:
    """Every image below a folder with the output that its class has, sorted by path: numbers begin at output `first` of the
    `classes` that there are. Raises PreprocessError listing those without one."""
    folder = Path(folder)
    found = [(path, class_of(path, folder, labels, first)) for path in find_images(folder)]
    wrong = [path for path, number in found if number is None or number >= classes]
    if wrong:
        names = ", ".join(str(path.relative_to(folder)) for path in wrong[:LISTED])
        more = f" and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
        raise PreprocessError(f"{folder}: file names must begin with a class of 0..{classes - first - 1}, or lie in a folder "
                              f"named by one: {names}{more}")
    return found


def has_images(network: QNetwork) -> bool:
    """Whether a network brings test images along."""
    return network.spec.shape == digits.CONFIG.input_shape


def own_images(network: QNetwork, option: str) -> Path:
    """The folder of test images that a network brings along. Raises PreprocessError for others, which need `option`."""
    if not has_images(network):
        raise PreprocessError(f"{network.name}: give {option}: only digits brings images of its own")
    return digits.IMAGES


def class_of(path: Path, folder: Path, labels: tuple[str, ...] = (), first: int = 0) -> int | None:
    """The output of an image file's class: its sub-folder's name as a number, a label or a label's first word (a WordNet id);
    else the number that begins the file's name. Class 0 is output `first`."""
    if path.parent != folder:
        name = path.parent.name
        if name.isascii() and name.isdigit():
            return first + int(name)
        for number, label in enumerate(labels):
            if name == label or label.split(maxsplit=1)[:1] == [name]:
                return number
    leading = re.match(r"[0-9]{1,9}(?![0-9A-Za-z])", path.name)
    return first + int(leading[0]) if leading else None
