"""The FastAPI peer of benches/api.rs: what a careful team serves a model with.

`infer` takes and gives the Open Inference Protocol's JSON, as all servers of the bench do. `raw` takes the
numbers alone, float32 and little-endian, and gives them likewise: less than the protocol's binary tensors hold.
Both read the body themselves: a pydantic model of it costs more. The model is run where the request is read,
since it is done sooner than a thread could take it over.
"""

import os

import numpy as np
import onnxruntime as ort
import orjson
from fastapi import FastAPI, Request, Response

options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
INPUT = session.get_inputs()[0].name
OUTPUT = session.get_outputs()[0].name
WIDTH = session.get_inputs()[0].shape[1]

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/v2/health/ready")
async def ready() -> Response:
    return Response()


@app.post("/v2/models/mlp/infer")
async def infer(request: Request) -> Response:
    asked = orjson.loads(await request.body())["inputs"][0]
    tensor = np.array(asked["data"], dtype=np.float32).reshape(asked["shape"])
    output = session.run([OUTPUT], {INPUT: tensor})[0]
    answer = {
        "model_name": "mlp",
        "model_version": "1",
        "outputs": [
            {"name": OUTPUT, "datatype": "FP32", "shape": output.shape, "data": output.ravel()}
        ],
    }
    body = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


@app.post("/raw")
async def raw(request: Request) -> Response:
    tensor = np.frombuffer(await request.body(), dtype="<f4").reshape(-1, WIDTH)
    output = session.run([OUTPUT], {INPUT: tensor})[0]
    return Response(output.tobytes(), media_type="application/octet-stream")
