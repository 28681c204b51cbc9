"""From a trained PyTorch module to a model package: export, quantize, golden samples, reference."""

import json
import os
import tempfile
import tomllib
import warnings
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

MODELS = Path(__file__).resolve().parent.parent
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class _Samples(CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch}


class Package:
    """The directory of one model version. model.toml and the card are written by hand; what this
    code and the Rust code both need to know is read from the former."""

    def __init__(self, name: str, version: int = 1):
        self.name, self.path = name, MODELS / name / str(version)
        self.settings = tomllib.loads((self.path / "model.toml").read_text())
        # [channels, 1], so that they broadcast over time: value = (raw - mean) * scale.
        self.mean, self.scale = (np.array(self.settings["input"][k], np.float32)[:, None] for k in ("mean", "scale"))

    def prepare(self, raw: np.ndarray) -> np.ndarray:
        """[N, channels, time] in raw units to the model's input."""
        return (raw - self.mean) * self.scale

    def write_model(self, module, example, calibration, output: str, exclude=(), only=("Conv", "Relu", "Gemm"), method="MinMax"):
        """Exports float ONNX, quantizes it, and returns sessions of both: (float, int8).

        Weights are signed 8 bit per channel, activations unsigned 8 bit: the pairing that x86 and ARM
        kernels are written for. Weights use seven of their eight bits, because x86 processors before
        VNNI add products in 16 bits and would saturate. `exclude` holds prefixes of node names that
        stay float; `calibration` is a list of prepared input batches.
        """
        with tempfile.TemporaryDirectory() as scratch:
            plain, inferred = Path(scratch) / "float.onnx", Path(scratch) / "inferred.onnx"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    module.eval(), (example,), plain, dynamo=False, opset_version=17,
                    input_names=["input"], output_names=[output],
                    dynamic_axes={"input": {0: "N"}, output: {0: "N"}},
                )  # fmt: skip
            graph = onnx.shape_inference.infer_shapes(onnx.load(plain))
            onnx.save(graph, inferred)
            quantize_static(
                inferred, self.path / "model.onnx", _Samples(calibration),
                quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                calibrate_method=getattr(CalibrationMethod, method),
                op_types_to_quantize=list(only),
                nodes_to_exclude=[n.name for n in graph.graph.node if n.name.startswith(tuple(exclude))],
            )  # fmt: skip
            self._tidy(output)
            return session(plain), session(self.path / "model.onnx")

    def _tidy(self, output: str):
        """Leaves only what an engine needs, and says aloud that the batch is free."""
        model = onnx.load(self.path / "model.onnx")
        model.producer_name, model.producer_version, model.ir_version = "", "", 8
        del model.graph.value_info[:]
        del model.metadata_props[:]
        model.graph.name, model.graph.doc_string, model.doc_string = self.name, "", ""
        for node in model.graph.node:
            node.doc_string = ""
        used = {n.domain for n in model.graph.node}
        for opset in [o for o in model.opset_import if o.domain and o.domain not in used]:
            model.opset_import.remove(opset)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
        model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "N"
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, self.path / "model.onnx")

    def write_labels(self, labels):
        (self.path / "labels.txt").write_text("".join(f"{label}\n" for label in labels))

    def clear_golden(self):
        (self.path / "golden").mkdir(exist_ok=True)
        for old in (self.path / "golden").iterdir():
            old.unlink()

    def write_golden(self, index: int, sample, expect: dict):
        """`sample` is [256, 3] in raw units, or the bytes of a JPEG."""
        stem = self.path / "golden" / f"{index:02}"
        if isinstance(sample, bytes):
            stem.with_suffix(".jpg").write_bytes(sample)
            given = f"{index:02}.jpg"
        else:
            # The sensor's step is 4 mg, so three decimals hold every value.
            values = [round(float(v), 3) for v in sample.reshape(-1)]
            given = {"shape": list(sample.shape), "values": values}
        stem.with_suffix(".json").write_text(json.dumps({"input": given, "expect": expect}) + "\n")

    def write_reference(self, scores, channels):
        """`channels`: per channel a flat array of raw input values."""
        told = {"scores": {"quantiles": _quantiles(scores)}, "input": []}
        for index, values in enumerate(channels):
            told["input"].append({
                "channel": index,
                "mean": round(float(values.mean()), 5),
                "std": round(float(values.std()), 5),
                "quantiles": _quantiles(values),
            })  # fmt: skip
        (self.path / "reference.json").write_text(json.dumps(told, indent=2) + "\n")

    def golden(self):
        for file in sorted((self.path / "golden").glob("*.json")):
            told = json.loads(file.read_text())
            given = told["input"]
            if isinstance(given, str):
                yield file.stem, (file.parent / given).read_bytes(), told["expect"]
            else:
                yield file.stem, np.array(given["values"], np.float32).reshape(given["shape"]), told["expect"]


def session(path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(engine: ort.InferenceSession, inputs: np.ndarray, batch: int = 64) -> np.ndarray:
    parts = [engine.run(None, {"input": inputs[i : i + batch]})[0] for i in range(0, len(inputs), batch)]
    return np.concatenate(parts)


def run_torch(module, inputs: np.ndarray, batch: int = 256) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(inputs[i : i + batch])).numpy() for i in range(0, len(inputs), batch)])


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _quantiles(values) -> dict:
    return {str(q): round(float(np.quantile(values, q)), 5) for q in QUANTILES}
