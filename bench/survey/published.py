"""Accuracies on ImageNet that others measured and published, for the networks of the zoo with their usual options."""
from dataclasses import dataclass

__all__ = ["DESIGN_SPACE", "Point", "SOURCES", "TOP1"]

TORCHVISION = "torchvision, table of its weights (IMAGENET1K_V1), https://docs.pytorch.org/vision/stable/models.html"
SQUEEZENET = "SqueezeNet, arXiv:1602.07360, table 3"
MOBILENET_V1 = "MobileNets, arXiv:1704.04861, table 6"
SHUFFLENET_V1 = "ShuffleNet, arXiv:1707.01083v2, table 3 (classification error 32.6 %)"

# Top-1 in percent, centre crop of 224x224, and where it is from.
TOP1: dict[str, tuple[float, str]] = {
    "squeezenet1_0": (58.092, TORCHVISION), "squeezenet1_1": (58.178, TORCHVISION),
    "squeezenet1_0_simple_bypass": (60.4, SQUEEZENET), "squeezenet1_0_complex_bypass": (58.8, SQUEEZENET),
    "alexnet_torchvision": (56.522, TORCHVISION), "vgg16": (71.592, TORCHVISION), "vgg19": (72.376, TORCHVISION),
    "resnet18": (69.758, TORCHVISION), "resnet34": (73.314, TORCHVISION), "resnet50": (76.130, TORCHVISION),
    "resnet101": (77.374, TORCHVISION), "resnet152": (78.312, TORCHVISION), "wide_resnet50_2": (78.468, TORCHVISION),
    "resnext50_32x4d": (77.618, TORCHVISION), "densenet121": (74.434, TORCHVISION), "densenet169": (75.600, TORCHVISION),
    "googlenet_bn": (69.778, TORCHVISION), "mobilenet_v1": (70.6, MOBILENET_V1), "mobilenet_v2": (71.878, TORCHVISION),
    "shufflenet_v1": (67.4, SHUFFLENET_V1), "shufflenet_v2": (69.362, TORCHVISION),
}
SOURCES = (TORCHVISION, SQUEEZENET, MOBILENET_V1, SHUFFLENET_V1)


@dataclass(frozen=True)
class Point:
    """A network of sections 5.2 and 5.3 of arXiv:1602.07360: squeeze ratio, share of 3x3 filters, megabytes of weights, top-5 in
    percent."""

    sr: float
    pct3x3: float
    megabytes: float
    top5: float


# The points of which the paper's text says the accuracy. Of what its figure 3 draws beside them the text says only that a squeeze
# ratio above 0.75, and more than half of the filters 3x3, gain nothing.
DESIGN_SPACE = (Point(0.125, 0.5, 4.8, 80.3), Point(0.5, 0.5, 13, 85.6), Point(0.75, 0.5, 19, 86.0))
