"""Writes graphs as other tools export them, with random weights, for benches/engine.rs.

    python -m venv target/outside && target/outside/bin/pip install onnx==1.23.2 onnxruntime==1.31.1
    target/outside/bin/python benches/engine/outside.py target/outside/models

`mobilenet` has the shape of torchvision's mobilenet_v2 (ImageNet, 224x224), `yolo` that of Ultralytics' yolov8n at
320x320. Each is written as float and as onnxruntime.quantization makes QDQ of it (U8 activations, S8 weights per
channel), with a batch of 1 and with an open one. The fixed seed makes the answers repeat.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

OPSET = 17


class Builder:
    """A graph under construction; each method gives the name of what it computes."""

    def __init__(self):
        self.random = np.random.default_rng(1)
        self.nodes, self.constants = [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator, *inputs, outputs=1, **attributes):
        names = [f"{operator.lower()}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, cin, cout, kernel=1, stride=1, group=1):
        fan = cin // group * kernel * kernel
        weights = self.random.normal(0, np.sqrt(2 / fan), (cout, cin // group, kernel, kernel))
        bias = self.random.normal(0, 0.05, cout)
        w, b = self.constant(weights.astype(np.float32)), self.constant(bias.astype(np.float32))
        pads = [kernel // 2] * 4
        return self.node("Conv", x, w, b, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=group)

    def model(self, shape, outputs):
        """With `N` as the batch; `outputs` are the shapes by name."""
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in outputs.items()]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "outside", [x], ends, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def mobilenet():
    """Sandler et al., MobileNetV2, table 2; batch normalization folded into the convolutions."""
    g = Builder()
    low, high = g.constant(np.float32(0)), g.constant(np.float32(6))

    def relu6(x):
        return g.node("Clip", x, low, high)

    x, cin = relu6(g.conv("x", 3, 32, 3, 2)), 32
    for t, c, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for index in range(n):
            stride, hidden, y = s if index == 0 else 1, cin * t, x
            if t > 1:
                y = relu6(g.conv(y, cin, hidden))
            y = relu6(g.conv(y, hidden, hidden, 3, stride, hidden))
            y = g.conv(y, hidden, c)
            x, cin = (g.node("Add", x, y) if stride == 1 and cin == c else y), c
    x = relu6(g.conv(x, cin, 1280))
    x = g.node("Flatten", g.node("GlobalAveragePool", x), axis=1)
    w = g.constant(g.random.normal(0, 0.03, (1000, 1280)).astype(np.float32))
    b = g.constant(np.zeros(1000, np.float32))
    y = g.node("Gemm", x, w, b, transB=1)
    return g.model(["N", 3, 224, 224], {y: ["N", 1000]})


def yolo(size=320, classes=80):
    """yolov8n: depth 0.33, width 0.25; SiLU as the exporter writes it, Sigmoid and Mul."""
    g = Builder()

    def cbs(x, cin, cout, kernel=1, stride=1):
        y = g.conv(x, cin, cout, kernel, stride)
        return g.node("Mul", y, g.node("Sigmoid", y))

    def c2f(x, cin, cout, n, shortcut):
        half = cout // 2
        parts = g.node("Split", cbs(x, cin, cout), g.constant(np.array([half, half])), outputs=2, axis=1)
        for _ in range(n):
            y = cbs(cbs(parts[-1], half, half, 3), half, half, 3)
            parts = [*parts, g.node("Add", parts[-1], y) if shortcut else y]
        return cbs(g.node("Concat", *parts, axis=1), (2 + n) * half, cout)

    def twice(x):
        scales = g.constant(np.array([1, 1, 2, 2], np.float32))
        return g.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def sppf(x):
        pools = [cbs(x, 256, 128)]
        for _ in range(3):
            pools.append(g.node("MaxPool", pools[-1], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
        return cbs(g.node("Concat", *pools, axis=1), 512, 256)

    x = cbs(cbs("x", 3, 16, 3, 2), 16, 32, 3, 2)
    x = cbs(c2f(x, 32, 32, 1, True), 32, 64, 3, 2)
    p3 = c2f(x, 64, 64, 2, True)
    p4 = c2f(cbs(p3, 64, 128, 3, 2), 128, 128, 2, True)
    p5 = sppf(c2f(cbs(p4, 128, 256, 3, 2), 256, 256, 1, True))
    q4 = c2f(g.node("Concat", twice(p5), p4, axis=1), 384, 128, 1, False)
    q3 = c2f(g.node("Concat", twice(q4), p3, axis=1), 192, 64, 1, False)
    q4 = c2f(g.node("Concat", cbs(q3, 64, 64, 3, 2), q4, axis=1), 192, 128, 1, False)
    q5 = c2f(g.node("Concat", cbs(q4, 128, 128, 3, 2), p5, axis=1), 384, 256, 1, False)
    heads = []
    for x, cin in [(q3, 64), (q4, 128), (q5, 256)]:
        box = g.conv(cbs(cbs(x, cin, 64, 3), 64, 64, 3), 64, 64)
        cls = g.conv(cbs(cbs(x, cin, classes, 3), classes, classes, 3), classes, classes)
        both = g.node("Concat", box, cls, axis=1)
        heads.append(g.node("Reshape", both, g.constant(np.array([0, 64 + classes, -1]))))
    split = g.constant(np.array([64, classes]))
    box, cls = g.node("Split", g.node("Concat", *heads, axis=2), split, outputs=2, axis=1)
    box = g.node("Transpose", g.node("Reshape", box, g.constant(np.array([0, 4, 16, -1]))), perm=[0, 2, 1, 3])
    # The expectation over sixteen bins, as the exporter writes it: a convolution with the weights 0 to 15.
    bins = g.constant(np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1))
    box = g.node("Conv", g.node("Softmax", box, axis=1), bins, kernel_shape=[1, 1])
    box = g.node("Reshape", box, g.constant(np.array([0, 4, -1])))
    y = g.node("Concat", box, g.node("Sigmoid", cls), axis=1)
    points = sum((size // stride) ** 2 for stride in (8, 16, 32))
    return g.model(["N", 3, size, size], {y: ["N", 4 + classes, points]})


class Noise(CalibrationDataReader):
    """Random pictures, smooth as pictures are, to calibrate on."""

    def __init__(self, size, count=4):
        random = np.random.default_rng(2)
        coarse = random.normal(0, 1, (count, 3, size // 8, size // 8))
        self.rest = iter(coarse.repeat(8, 2).repeat(8, 3)[:, None].astype(np.float32))

    def get_next(self):
        picture = next(self.rest, None)
        return None if picture is None else {"x": picture}


def fixed(path, target):
    model = onnx.load(path)
    for end in [*model.graph.input, *model.graph.output]:
        end.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    onnx.save(model, target)


def main():
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, model, size in [("mobilenet", mobilenet(), 224), ("yolo", yolo(), 320)]:
        plain = target / f"{name}-float-open.onnx"
        onnx.save(model, plain)
        quantized = target / f"{name}-qdq-open.onnx"
        quantize_static(
            plain, quantized, Noise(size), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )
        for open_batch in (plain, quantized):
            fixed(open_batch, target / open_batch.name.replace("-open", "-fixed"))


if __name__ == "__main__":
    main()
