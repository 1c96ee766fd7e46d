"""Images as users have them: files, Pillow images, arrays."""
from pathlib import Path

import numpy as np
from PIL import Image

from nets.preprocess import InputSpec, PreprocessError, load_image

__all__ = ["Picture", "name_of", "pixels_of"]

Picture = str | Path | Image.Image | np.ndarray


def name_of(image: Picture) -> str:
    """What an image is called."""
    return Path(image).name if isinstance(image, str | Path) else Path(getattr(image, "filename", "")).name or "image"


def pixels_of(image: Picture, spec: InputSpec) -> np.ndarray:
    """uint8 pixels (channels, height, width) as the network wants them: resized and cropped.

    An array must be uint8 (height, width) for grey or (height, width, 3) for RGB, of any size. Raises PreprocessError.
    """
    if isinstance(image, str | Path):
        return load_image(image, spec)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
            raise PreprocessError(f"image: an array must be uint8 (height, width) or (height, width, 3), not {image.dtype} "
                                  f"{image.shape}")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise PreprocessError(f"image: must be a file's name, an array or a Pillow image, not {type(image).__name__}")
    try:
        return spec.pixels(image)
    except (OSError, ValueError) as error:
        raise PreprocessError(f"{name_of(image)}: cannot be used: {error}") from None
