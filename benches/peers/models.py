"""Writes the network that the camera of `make bench-peers` looks through: MobileNetV2-shaped, with random weights,
quantized to int8 (U8 activations, S8 weights by channel, QDQ) by ONNX Runtime's own quantizer.

The layers are those of table 2 in "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (arXiv:1801.04381), batch
normalisation folded into the convolutions as exporters do.

    models.py FILE [--float FILE]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quant_pre_process, quantize_static,
)

SIDE, CLASSES = 224, 1000
# Expansion, channels, repetitions, first stride.
BLOCKS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class Network:
    def __init__(self):
        self.random = np.random.default_rng(1)
        self.nodes, self.weights, self.last = [], [], "input"

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, kind, inputs, **attributes):
        self.last = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [self.last], name=self.last, **attributes))
        return self.last

    def convolution(self, inputs, outputs, kernel, stride=1, groups=1, limited=True):
        fan = inputs // groups * kernel * kernel
        weights = self.random.normal(0, np.sqrt((2 if limited else 1) / fan), (outputs, inputs // groups, kernel, kernel))
        names = [self.last, self.constant(weights), self.constant(self.random.normal(0, 0.05, outputs))]
        edge = kernel // 2
        self.node("Conv", names, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[edge] * 4, group=groups)
        if limited:
            self.node("Clip", [self.last, "zero", "six"])

    def block(self, inputs, outputs, expansion, stride):
        before, wide = self.last, inputs * expansion
        if expansion > 1:
            self.convolution(inputs, wide, 1)
        self.convolution(wide, wide, 3, stride, groups=wide)
        self.convolution(wide, outputs, 1, limited=False)
        if stride == 1 and inputs == outputs:
            self.node("Add", [before, self.last])

    def model(self):
        self.convolution(3, 32, 3, 2)
        channels = 32
        for expansion, outputs, repetitions, first in BLOCKS:
            for number in range(repetitions):
                self.block(channels, outputs, expansion, first if number == 0 else 1)
                channels = outputs
        self.convolution(channels, 1280, 1)
        self.node("GlobalAveragePool", [self.last])
        self.node("Flatten", [self.last])
        weights = self.constant(self.random.normal(0, np.sqrt(1 / 1280), (1280, CLASSES)))
        self.nodes.append(helper.make_node("Gemm", [self.last, weights, self.constant(np.zeros(CLASSES))], ["output"]))
        limits = [numpy_helper.from_array(np.float32(value), name) for value, name in [(0, "zero"), (6, "six")]]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in [("input", [1, 3, SIDE, SIDE]), ("output", [1, CLASSES])]
        ]
        graph = helper.make_graph(self.nodes, "mobilenetv2-shaped", ends[:1], ends[1:], self.weights + limits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


class Pictures(CalibrationDataReader):
    """Smooth random pictures, prepared as the pipelines prepare theirs."""

    def __init__(self, count=8):
        random = np.random.default_rng(2)
        self.rest = iter([np.kron(random.uniform(-1, 1, (1, 3, 14, 14)), np.ones((16, 16))) for _ in range(count)])

    def get_next(self):
        picture = next(self.rest, None)
        return None if picture is None else {"input": picture.astype(np.float32)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--float", type=Path, help="where the network before its quantization goes")
    arguments = arguments.parse_args()
    model = Network().model()
    if arguments.float:
        onnx.save(model, arguments.float)
    with tempfile.TemporaryDirectory() as directory:
        plain, ready = Path(directory, "plain.onnx"), Path(directory, "ready.onnx")
        onnx.save(model, plain)
        quant_pre_process(plain, ready)
        quantize_static(
            ready, arguments.file, Pictures(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )


main()
