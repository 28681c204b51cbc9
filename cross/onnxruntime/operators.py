#!/usr/bin/env python3
"""Which operators ONNX Runtime has to bring for the models at hand, as its build wants them told.

    operators.py DIRECTORY...

Reads every *.onnx below the directories and prints `domain;opset;operator,…`, sorted. What ONNX Runtime puts
into a model by itself, when it fuses and moves operators, is always on the list.
"""

import collections
import pathlib
import sys

import onnx

# Out of the optimizers (core/optimizer of ONNX Runtime 1.21): QDQ selection, fusion, layout, constant sharing.
ADDED = {
    "ai.onnx": """
        AveragePool BatchNormalization Cast Clip Concat ConstantOfShape Conv ConvInteger DequantizeLinear
        DynamicQuantizeLinear Expand Gather Gemm GlobalAveragePool Identity LayerNormalization MatMul MatMulInteger
        MaxPool Mul Pad QLinearConv QLinearMatMul QuantizeLinear ReduceSum Relu Reshape Resize Shape
        SimplifiedLayerNormalization Slice Softmax Split Squeeze Sum Tile Transpose Unsqueeze Where""",
    "com.microsoft": """
        Attention BiasGelu DequantizeLinear DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedConv
        FusedGemm FusedMatMul GatherBlockQuantized Gelu MatMulIntegerToFloat MatMulNBits NhwcFusedConv NhwcMaxPool
        QAttention QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool
        QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu
        SkipLayerNormalization SkipSimplifiedLayerNormalization TransposeMatMul""",
    "com.microsoft.nchwc": """
        AveragePool Conv GlobalAveragePool GlobalMaxPool MaxPool ReorderInput ReorderOutput Upsample""",
    "com.ms.internal.nhwc": "AveragePool GlobalAveragePool MaxPool",
}


def add(graph, opsets, needed):
    """The graph's operators and those of the graphs within (If, Loop, Scan)."""
    for node in graph.node:
        domain = node.domain or "ai.onnx"
        needed[domain, opsets[domain]].add(node.op_type)
        for attribute in node.attribute:
            for within in [attribute.g, *attribute.graphs]:
                add(within, opsets, needed)


def main():
    files = sorted(file for directory in sys.argv[1:] for file in pathlib.Path(directory).rglob("*.onnx"))
    if not files:
        sys.exit(f"operators: no *.onnx below {' '.join(sys.argv[1:]) or '(nothing was named)'}")
    needed = collections.defaultdict(set)
    for file in files:
        try:
            model = onnx.load(file, load_external_data=False)
        except Exception as error:
            sys.exit(f"operators: {file} is no ONNX model: {error}")
        opsets = collections.defaultdict(lambda: 1)
        opsets.update((opset.domain or "ai.onnx", opset.version) for opset in model.opset_import)
        for graph in [model.graph, *model.functions]:
            add(graph, opsets, needed)
        for domain, operators in ADDED.items():
            needed[domain, opsets[domain]].update(operators.split())
    for (domain, opset), operators in sorted(needed.items()):
        print(f"{domain};{opset};{','.join(sorted(operators))}")


main()
