// What people write today: mqtt.js, onnxruntime-node and sharp, in one process. Settings come from the environment
// (see benches/peers/subject.rs). Every message is looked at, in order; where the first number that the model gives is
// above the threshold, the decision is published.
import { createRequire } from 'node:module'

const require = createRequire(process.env.BENCH_MODULES + '/')
const mqtt = require('mqtt')
const ort = require('onnxruntime-node')

const { BENCH_IN, BENCH_OUT, BENCH_KIND, BENCH_MODEL, BENCH_PORT } = process.env
const qos = Number(process.env.BENCH_QOS)
const threshold = Number(process.env.BENCH_THRESHOLD)

const model = await ort.InferenceSession.create(BENCH_MODEL, {
  executionProviders: ['cpu'],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  extra: { session: { intra_op: { allow_spinning: '0' } } },
})
const [input] = model.inputNames
const [output] = model.outputNames
const SIDE = 224
const decided = (told) => client.publish(BENCH_OUT, JSON.stringify(told), { qos })

async function sensor(payload) {
  const told = JSON.parse(payload)
  const tensor = new ort.Tensor('float32', Float32Array.from(told.x), [1, told.x.length])
  const value = (await model.run({ [input]: tensor }))[output].data[0]
  if (value > threshold) decided({ seq: told.seq, value })
}

async function camera(payload) {
  const { data } = await sharp(payload)
    .resize(SIDE, SIDE, { fit: 'fill', kernel: 'linear', fastShrinkOnLoad: true })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  const area = SIDE * SIDE
  const values = new Float32Array(3 * area)
  for (let at = 0, from = 0; at < area; at += 1) {
    values[at] = (data[from++] - 127.5) / 127.5
    values[at + area] = (data[from++] - 127.5) / 127.5
    values[at + 2 * area] = (data[from++] - 127.5) / 127.5
  }
  const scores = (await model.run({ [input]: new ort.Tensor('float32', values, [1, 3, SIDE, SIDE]) }))[output].data
  let label = 0
  for (let at = 1; at < scores.length; at += 1) if (scores[at] > scores[label]) label = at
  decided({ label, score: scores[label] })
}

const sharp = BENCH_KIND === 'camera' ? require('sharp') : undefined
sharp?.concurrency(1)
sharp?.cache(false)
const react = BENCH_KIND === 'camera' ? camera : sensor

const client = mqtt.connect(`mqtt://127.0.0.1:${BENCH_PORT}`, {
  protocolVersion: 5,
  properties: { receiveMaximum: 1000 },
})
client.on('connect', () => {
  client.stream.setNoDelay(true)
  client.subscribe(BENCH_IN, { qos })
})
// The next message is read when this one is done, and acknowledged then.
client.handleMessage = (packet, done) => {
  react(packet.payload).then(() => done(), done)
}
