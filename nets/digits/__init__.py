"""The embedded default network: handwritten digits on a small SqueezeNet, with its images.

`digits.onnx` and `digits.json` are the trained network and its side file, `images/` the 360 images
it was not trained on and `calibration/` 64 of those it was, named `<class>_<index in the data
set>.png`. `train.py` made all of them.
"""
from pathlib import Path

from nets.zoo.squeezenet import SqueezeNetConfig

__all__ = ["CALIBRATION", "CONFIG", "IMAGES", "MODEL"]

FOLDER = Path(__file__).parent
MODEL = FOLDER / "digits.onnx"
IMAGES = FOLDER / "images"
CALIBRATION = FOLDER / "calibration"

# Maps of 15, 7 and 3 pixels. Weights and all activations fit the block RAM of the smallest ECP5.
CONFIG = SqueezeNetConfig(base_e=64, incr_e=32, sr=0.25, modules=4, pools=(1, 3),
                          conv1_channels=32, conv1_kernel=3, classes=10, input_shape=(1, 32, 32))
