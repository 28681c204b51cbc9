"""What people write today: paho-mqtt, ONNX Runtime and OpenCV, in one process.

Settings come from the environment (see benches/peers/subject.rs). Every message is looked at; where the first number
that the model gives is above the threshold, the decision is published.
"""

import json
import os

import numpy as np
import onnxruntime as ort
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TOPIC, OUT = os.environ["BENCH_IN"], os.environ["BENCH_OUT"]
QOS = int(os.environ["BENCH_QOS"])
THRESHOLD = float(os.environ["BENCH_THRESHOLD"])


def session():
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])


model = session()
NAME = model.get_inputs()[0].name


def sensor(client, _, message):
    told = json.loads(message.payload)
    vector = np.array(told["x"], dtype=np.float32)[None]
    value = float(model.run(None, {NAME: vector})[0][0, 0])
    if value > THRESHOLD:
        client.publish(OUT, json.dumps({"seq": told["seq"], "value": value}), qos=QOS)


def camera(client, _, message):
    picture = cv2.imdecode(np.frombuffer(message.payload, np.uint8), cv2.IMREAD_COLOR)
    picture = cv2.cvtColor(cv2.resize(picture, (224, 224), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    tensor = ((picture.astype(np.float32) - 127.5) * (1 / 127.5)).transpose(2, 0, 1)[None]
    logits = model.run(None, {NAME: np.ascontiguousarray(tensor)})[0][0]
    label = int(logits.argmax())
    client.publish(OUT, json.dumps({"label": label, "score": float(logits[label])}), qos=QOS)


def connected(client, *_):
    client.subscribe(TOPIC, qos=QOS)


if os.environ["BENCH_KIND"] == "camera":
    import cv2

    cv2.setNumThreads(1)
    react = camera
else:
    react = sensor

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
# As fast as it goes: without this every small answer waits for the kernel.
client.on_socket_open = lambda _c, _u, sock: sock.setsockopt(6, 1, 1)
client.max_queued_messages_set(0)
client.max_inflight_messages_set(65535)
client.on_connect = connected
client.on_message = react
properties = Properties(PacketTypes.CONNECT)
properties.ReceiveMaximum = 1000
client.connect("127.0.0.1", int(os.environ["BENCH_PORT"]), properties=properties)
client.loop_forever()
