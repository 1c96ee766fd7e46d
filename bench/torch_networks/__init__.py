"""Networks written anew in PyTorch, as people write them, by the names of the zoo; importing this needs PyTorch.

They differ from one another on purpose: each way to pool, flatten, shuffle, pad and join is one that exported files have.
"""
from collections.abc import Callable
from functools import partial

from torch import nn
import torch.nn.functional as F

from bench.torch_networks.connected import VGG, AlexNet, AlexNet2012, ZFNet
from bench.torch_networks.joining import DenseNet, FractalNet, GoogLeNet, GoogLeNetBN
from bench.torch_networks.mobile import MobileNetV1, MobileNetV2, ShuffleNetV1, ShuffleNetV2
from bench.torch_networks.residual import PreactResNet, ResNet, StochasticResNet, WideResNet
from bench.torch_networks.squeezing import LeNet5, NiN, NiNCifar, SqueezeNet

__all__ = ["NETWORKS", "SMALL"]

# By name in the zoo, options included; what stands behind a space is another way to write the same network.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "squeezenet1_0": SqueezeNet,
    "squeezenet1_0_simple_bypass": partial(SqueezeNet, "simple"),
    "squeezenet1_0_complex_bypass": partial(SqueezeNet, "complex"),
    "alexnet": AlexNet2012,
    "alexnet_torchvision": AlexNet,
    "zfnet": ZFNet,
    "vgg16": partial(VGG, (2, 2, 3, 3, 3)),
    "vgg19": partial(VGG, (2, 2, 4, 4, 4)),
    "resnet18": partial(ResNet, (2, 2, 2, 2), bottleneck=False),
    "resnet34": partial(ResNet, (3, 4, 6, 3), bottleneck=False),
    "resnet50": partial(ResNet, (3, 4, 6, 3)),
    "resnet101": partial(ResNet, (3, 4, 23, 3)),
    "resnet152": partial(ResNet, (3, 8, 36, 3)),
    "preact_resnet18": partial(PreactResNet, (2, 2, 2, 2), bottleneck=False),
    "preact_resnet50": partial(PreactResNet, (3, 4, 6, 3), bottleneck=True),
    "wrn16_4": partial(WideResNet, 16, 4),
    "wide_resnet50_2": partial(ResNet, (3, 4, 6, 3), group_width=128),
    "resnext50_32x4d": partial(ResNet, (3, 4, 6, 3), groups=32, group_width=4),
    "resnet110_stochastic": StochasticResNet,
    "resnet110_stochastic:shortcut=pad": partial(StochasticResNet, shortcut="pad"),
    "fractalnet (sum)": FractalNet,
    "fractalnet (stack)": partial(FractalNet, join="stack"),
    "fractalnet (mean)": partial(FractalNet, join="mean"),
    "densenet121": partial(DenseNet, (6, 12, 24, 16)),
    "densenet121:growth=16": partial(DenseNet, (6, 12, 24, 16), growth=16),
    "densenet169": partial(DenseNet, (6, 12, 32, 32)),
    "googlenet": GoogLeNet,
    "googlenet_bn": GoogLeNetBN,
    "googlenet_bn:transform_input=1": partial(GoogLeNetBN, transform_input=True),
    "nin": NiN,
    "nin_cifar": NiNCifar,
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v1:width=0.25,size=128": partial(MobileNetV1, 0.25),
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v2:width=0.25": partial(MobileNetV2, 0.25),
    "shufflenet_v1": ShuffleNetV1,
    "shufflenet_v2": ShuffleNetV2,
    "lenet5": LeNet5,
    "lenet5:size=28": partial(LeNet5, 28),
    "lenet5:activation=relu": partial(LeNet5, activation=F.relu),
    "lenet5:activation=relu,size=28": partial(LeNet5, 28, activation=F.relu),
}

# Small ones to train on grey images of ten classes: the network, the side of its images, and epochs that are enough.
SMALL: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "lenet5": (partial(LeNet5, 28, activation=F.relu), 28, 40),
    "resnet20": (partial(StochasticResNet, 20, survival=1.0, colours=1), 16, 10),
    "densenet_bc40": (partial(DenseNet, (6, 6, 6), growth=12, classes=10, colours=1, small=True), 16, 8),
    "mobilenet_v2_025": (partial(MobileNetV2, 0.25, classes=10, colours=1, small=True), 16, 14),
}
