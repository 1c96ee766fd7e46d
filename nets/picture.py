"""Pictures of every kind that Pillow reads, as 8-bit grey or RGB, upright; what cannot be understood for certain is refused.

Bits: 16 (12 in some TIFFs) are scaled by their whole range. Numbers of 32 bits, floating point or whole, have a certain meaning
only if all lie within 0..1 (white is 1), or are whole and within 0..255 (white is 255).
Transparency: the picture is laid over a background of one colour. Colour profiles are not applied, CMYK is converted by Pillow's
formula. Of several pictures in a file the first is taken.
"""
import struct

import numpy as np
from PIL import Image, ImageStat

__all__ = ["BACKGROUNDS", "plain"]

BACKGROUNDS = {"black": 0, "white": 255}

_ORIENTATION, _BITS, _PHOTOMETRIC = 0x112, 258, 262          # tags of EXIF and TIFF
_WHITE_IS_ZERO = 0
_UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90}
# Formats whose grey levels of more than 8 bits are known to be scaled as the module says.
_DEEP = ("JPEG2000", "PNG", "PPM", "TIFF", None)
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")
# What Pillow raises for damaged files besides: a TIFF's tags may be of any type.
_DAMAGED = (AttributeError, EOFError, LookupError, OverflowError, TypeError, struct.error)
_DIM = 16               # a picture in 16 bits that uses less than this part of them is suspicious


def plain(image: Image.Image, background: str = "black") -> tuple[Image.Image, list[str]]:
    """The picture in mode L or RGB, and what its owner should be warned of, a clause each.

    Raises ValueError with the reason if the picture cannot be understood, OSError or SyntaxError for a damaged file.
    """
    key = _transparent_colour(image)            # before `load`, which forgets how the pixels were stored
    try:
        image.load()
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGED as error:
        raise ValueError(f"it is damaged ({error})") from None
    image, alpha, concerns = _eight_bits(image, key)
    if alpha is not None:
        over = Image.new(image.mode, image.size, (BACKGROUNDS[background],) * len(image.getbands()))
        over.paste(image, mask=alpha)
        image = over
        if alpha.getextrema()[0] < 255 and max(ImageStat.Stat(image).stddev) == 0:
            other = next(name for name in BACKGROUNDS if name != background)
            concerns.append(f"is transparent, and nothing of it shows over {background}: is --background {other} meant?")
    if turn is not None:
        image = image.transpose(turn)
    image.info = {}                             # what was followed is not followed again
    return image, concerns


def _eight_bits(image: Image.Image, key: int | tuple[int, ...] | None) -> tuple[Image.Image, Image.Image | None, list[str]]:
    """The picture in mode L or RGB; its alpha channel, if it has one; and what to warn of."""
    if image.mode in (*_SIXTEEN, "I", "F"):
        return _from_deep(image, key)
    if image.mode == "LAB":
        raise ValueError("its colours are Lab: save it as RGB")
    if image.mode == "La":
        image = image.convert("LA")
    grey = image.mode in ("1", "L", "LA")
    if not image.has_transparency_data:
        return image.convert("L" if grey else "RGB"), None, []
    if key is not None:
        image = image.copy()
        image.info["transparency"] = key
    whole = image.convert("RGBA")
    return whole.convert("L" if grey else "RGB"), whole.getchannel("A"), []


def _from_deep(image: Image.Image, key: int | tuple[int, ...] | None) -> tuple[Image.Image, Image.Image | None, list[str]]:
    """The same for one channel of more than 8 bits."""
    if image.format not in _DEEP:
        raise ValueError(f"more than 8 bits in {image.format} have no certain meaning: save it as PNG or TIFF")
    values, concerns = np.asarray(image), []
    if image.mode in _SIXTEEN or image.mode == "I" and image.format in ("PNG", "PPM"):
        bits = _tag(image, _BITS, 16)
        white = (1 << bits) - 1
        if 0 < values.max(initial=0) < white // _DIM:
            concerns.append(f"is nearly black: no value of its {bits} bits is above {values.max()} of {white}")
    else:
        white = _white(values)
    scaled = np.rint(values * (255 / white)).clip(0, 255).astype(np.uint8)
    if _tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:          # which Pillow heeds for 8 bits only
        scaled = 255 - scaled
    alpha = None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.fromarray(scaled), alpha, concerns


def _white(values: np.ndarray) -> int:
    """Which of numbers of 32 bits is white. Raises ValueError if that is not certain."""
    if not np.isfinite(values).all():
        raise ValueError("some of its pixels are not numbers")
    low, high = values.min(), values.max()
    if 0 <= low and high <= 1:
        return 1
    if 0 <= low and high <= 255 and (values == np.rint(values)).all():
        return 255
    raise ValueError(f"pixels of {low:g}..{high:g} in 32 bits have no certain white: scale them to 0..1, or save 8 or 16 bits")


def _tag(image: Image.Image, number: int, otherwise: int) -> int:
    """A number among a TIFF's tags."""
    value = getattr(image, "tag_v2", {}).get(number, otherwise)
    return int(value[0] if isinstance(value, tuple) else value)


def _transparent_colour(image: Image.Image) -> int | tuple[int, ...] | None:
    """The colour that a PNG without alpha declares transparent, on the scale of Pillow's pixels: its file has it on that of the
    stored bits, and so has Pillow. Raises ValueError where Pillow keeps less of the pixels than the colour has."""
    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode == "P" or not isinstance(key, int | tuple):
        return None
    stored = str(image.tile[0][3]) if image.tile else image.mode
    match stored.partition(";")[2]:
        case "16B" if isinstance(key, tuple):
            raise ValueError("one of its colours of 3 x 16 bits is transparent, which Pillow cannot tell from its neighbours: "
                             "save it with an alpha channel, or with 8 bits")
        case "2" | "4" as bits:
            return key * 255 // ((1 << int(bits)) - 1)
    return key
