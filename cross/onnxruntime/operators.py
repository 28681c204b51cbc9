#!/usr/bin/env python3
"""Which operators ONNX Runtime has to bring for the models at hand, as its build wants them told.

    operators.py models DIRECTORY       what every *.onnx below the directory uses: `domain;opset;operator,…`, sorted
    operators.py whole LIST SOURCES     such a list, and what ONNX Runtime's own optimizer puts into a model

An operator without a kernel of its own is a function of others (HardSwish, Mish): those are on the list too.
"""

import collections
import pathlib
import re
import sys

# What the optimizer adds under a name that it puts together, or keeps in a variable. Nodes that it adds under a
# name written out (`AddNode(…, "Div", …)`) are read from its sources.
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


def add(nodes, opsets, needed):
    """The operators of a graph, of the graphs within (If, Loop, Scan), and of what they are functions of."""
    for node in nodes:
        domain = node.domain or "ai.onnx"
        if node.op_type in needed[domain, opsets[domain]]:
            continue
        needed[domain, opsets[domain]].add(node.op_type)
        for attribute in node.attribute:
            for within in [attribute.g, *attribute.graphs]:
                add(within.node, opsets, needed)
        try:
            schema = onnx.defs.get_schema(node.op_type, opsets[domain], node.domain)
        except onnx.defs.SchemaError:
            continue
        if schema.has_function:
            add(schema.function_body.node, opsets, needed)


def models(directory):
    files = sorted(pathlib.Path(directory).rglob("*.onnx"))
    if not files:
        sys.exit(f"operators: no *.onnx below {directory}")
    needed = collections.defaultdict(set)
    for file in files:
        try:
            model = onnx.load(file, load_external_data=False)
        except Exception as error:
            sys.exit(f"operators: {file} is no ONNX model: {error}")
        opsets = collections.defaultdict(lambda: 1)
        opsets.update((opset.domain or "ai.onnx", opset.version) for opset in model.opset_import)
        for graph in [model.graph, *model.functions]:
            add(graph.node, opsets, needed)
        # The domains that the optimizer knows, at this model's opset.
        for domain in ADDED:
            _ = needed[domain, opsets[domain]]
    return needed


def whole(listed, sources):
    optimizer = pathlib.Path(sources) / "onnxruntime/core/optimizer"
    calls = "".join(
        call for file in sorted(optimizer.rglob("*.cc")) for call in re.findall(r"\bAddNode\(([^;]*);", file.read_text())
    )
    written = set(re.findall(r'"([A-Z][A-Za-z0-9]+)"', calls))
    if "Div" not in written:
        sys.exit(f"operators: {optimizer} does not say what it adds to a model in the way that is known")
    needed = collections.defaultdict(set)
    for line in pathlib.Path(listed).read_text().splitlines():
        domain, opset, operators = line.split(";")
        needed[domain, int(opset)].update(filter(None, operators.split(",")))
        # Names that a domain does not have mean nothing there.
        needed[domain, int(opset)].update(ADDED.get(domain, "").split(), written)
    return needed


match sys.argv[1:]:
    case ["models", directory]:
        # From PyPI, and needed for this alone.
        import onnx

        result = models(directory)
    case ["whole", listed, sources]:
        result = whole(listed, sources)
    case _:
        sys.exit(__doc__)
for (domain, opset), operators in sorted(result.items()):
    print(f"{domain};{opset};{','.join(sorted(operators))}")
