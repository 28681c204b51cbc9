'use strict';
// The live page: what the device sees, thinks and decides, drawn from one stream of events.
// Whatever the device says is put in as text and numbers, never as markup.

const SPAN = 120e3; // what a sparkline shows, in milliseconds like all times here
const SILENCE = 15e3; // health comes every 2 s: after this the connection is dead
const UNSEEN = 300e3; // a tab that nobody looks at for so long gives its stream back
const MOST = { decisions: 100, cards: 64, streams: 50, bars: 6, lanes: 12, points: 600, rows: 200 };

const $ = (id) => document.getElementById(id);
const now = () => performance.now();
const list = (value) => (Array.isArray(value) ? value : []);
const number = (value) => (Number.isFinite(value) ? value : null);
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const tone = (node, state) => { if (node.dataset.state !== state) node.dataset.state = state; };
const show = (node, shown) => node.toggleAttribute('hidden', !shown);

/** A copy of a template, and its parts by their `data-f`. */
function make(template) {
  const root = $(template).content.firstElementChild.cloneNode(true);
  const parts = [...root.querySelectorAll('[data-f]')].map((node) => [node.dataset.f, node]);
  return { root, f: Object.fromEntries(parts) };
}

/** Makes the list's children those of the items, and leaves the nodes of those that stay. */
function rows(parent, items, template, fill) {
  const before = parent.rows ?? new Map();
  parent.rows = new Map();
  for (const item of items.slice(0, MOST.rows)) {
    if (parent.rows.has(item.key)) continue;
    const row = before.get(item.key) ?? make(template);
    const place = parent.children[parent.rows.size] ?? null;
    if (place !== row.root) parent.insertBefore(row.root, place);
    parent.rows.set(item.key, row);
    fill(row.f, item);
  }
  for (const [key, row] of before) if (!parent.rows.has(key)) row.root.remove();
}

// ---- How things are written

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const count = (value) => (number(value) === null ? '–' : grouped.format(value));

function digits(value) {
  if (number(value) === null) return '–';
  const size = Math.abs(value);
  let text = value.toPrecision(3);
  if (size === 0) text = '0';
  else if (size < 0.001 || size >= 1e6) text = value.toExponential(1);
  else if (size >= 999.5) text = grouped.format(value);
  return text.replace('-', '−');
}

const score = (value) => (number(value) === null ? '' : value.toFixed(2));

function scaled(value, units) {
  if (number(value) === null) return '–';
  const [size, unit] = units.find(([limit]) => value >= limit) ?? units.at(-1);
  const inUnits = value / size;
  return `${inUnits.toFixed(inUnits < 10 && unit !== 'B' ? 1 : 0)} ${unit}`;
}

const latency = (seconds) => scaled(seconds, [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs']]);
const size = (bytes) => scaled(bytes, [[1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB'], [1, 'B']]);

function duration(seconds) {
  if (number(seconds) === null) return '';
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${grouped.format(Math.floor(s / 86400))} d ${Math.floor((s % 86400) / 3600)} h`;
}

function clock(at) {
  const time = new Date(at);
  if (Number.isNaN(time.getTime())) return '';
  const two = (value) => String(value).padStart(2, '0');
  const day = time.toDateString() === new Date().toDateString()
    ? '' : `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} `;
  return `${day}${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** What a prediction says: its heading, and rows of a name, a score, and how full the bar is. */
function meaning(prediction) {
  const p = prediction ?? {};
  const values = list(p.values);
  switch (p.task) {
    case 'classification': {
      let scores = Object.entries(p.scores ?? {}).filter(([, value]) => number(value) !== null);
      if (scores.length > MOST.bars) scores = scores.sort((a, b) => b[1] - a[1]);
      const full = Math.max(1, ...scores.slice(0, MOST.bars).map(([, value]) => value));
      const bars = scores.map(([name, value]) => (
        { name, text: score(value), fill: value / full, best: name === p.label }));
      return { title: String(p.label ?? ''), score: score(p.score), bars };
    }
    case 'detection': {
      const found = list(p.detections);
      const bars = found.map((d) => (
        { name: String(d.label ?? ''), text: score(d.score), fill: number(d.score) ?? 0 }));
      const best = found[0] ? `${found[0].label} ${score(found[0].score)}` : '';
      return { title: found.length ? `${found.length} found` : 'nothing found', score: '', bars, brief: best };
    }
    case 'anomaly':
      return {
        title: 'anomaly', score: digits(p.score), bars: [], trend: number(p.score), brief: `score ${digits(p.score)}`,
      };
    case 'regression': {
      const bars = values.map((value, i) => ({ name: `value ${i + 1}`, text: digits(value) }));
      return {
        title: '', score: digits(values[0]), bars: bars.length > 1 ? bars : [], trend: number(values[0]),
      };
    }
    case 'embedding':
      return { title: `embedding of ${count(values.length)}`, score: '', bars: [], line: values };
    case 'tensor':
      return { title: `tensor ${list(p.shape).join(' × ')}`, score: '', bars: [], line: values };
    default:
      return { title: p.task ? String(p.task) : '–', score: '', bars: [] };
  }
}

const brief = (said) => said.brief ?? `${said.title} ${said.score}`.trim();

// ---- Theme

function remembered(store, key) {
  try { return window[store].getItem(key); } catch { return null; }
}

function remember(store, key, value) {
  try {
    if (value === null) window[store].removeItem(key); else window[store].setItem(key, value);
  } catch { /* a browser that keeps nothing: it holds until the page is closed */ }
}

const dark = matchMedia('(prefers-color-scheme: dark)');
let theme = remembered('localStorage', 'eir-theme');

function paintTheme() {
  const isDark = theme ? theme === 'dark' : dark.matches;
  document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
  $('theme')?.setAttribute('aria-pressed', String(isDark));
}

function toggleTheme() {
  const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
  theme = (next === 'dark') === dark.matches ? null : next;
  remember('localStorage', 'eir-theme', theme);
  paintTheme();
}

// ---- Painting: the newest of everything, once per picture of the screen, not at all while paused

const unpainted = new Map();
let asked = false;
let paused = false;

function paint(key, work) {
  unpainted.set(key, work);
  if (asked || paused) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (paused) return;
    const all = [...unpainted.values()];
    unpainted.clear();
    for (const one of all) attempt(one);
  });
}

function attempt(work) {
  try { work(); } catch (problem) { console.error('cannot be shown:', problem); }
}

function togglePause() {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', String(paused));
  document.body.classList.toggle('paused', paused);
  paintBanner();
  if (!paused) paint('resume', () => {});
}

/** The runs of points that belong together, as coordinates of a 120 × 32 sparkline. */
function runs(points, low, high) {
  const end = now();
  const all = [[]];
  for (const [t, value] of points) {
    const x = (120 - (end - t) / 1000).toFixed(1);
    if (value === null) all.push([]);
    else all.at(-1).push([x, (30.5 - ((value - low) / (high - low || 1)) * 28).toFixed(1)]);
  }
  return all.filter((run) => run.length > 1);
}

function spark(svg, series, low = 0) {
  const values = Object.values(series).flat().map(([, value]) => value).filter((value) => value !== null);
  const bottom = low ?? Math.min(...values);
  const high = Math.max(bottom, ...values);
  for (const [name, points] of Object.entries(series)) {
    const drawn = runs(points, bottom, high);
    const line = drawn.map((run) => `M${run.join('L')}`).join('');
    svg.querySelector(`.${name}`).setAttribute('d', line);
    if (name !== 'first') continue;
    const area = drawn.map((run) => `M${run[0][0]} 32L${run.join('L')}L${run.at(-1)[0]} 32Z`).join('');
    svg.querySelector('.fill')?.setAttribute('d', area);
  }
}

/** Keeps what the sparkline shows. */
function trim(points) {
  const first = points.findIndex(([t]) => t > now() - SPAN);
  points.splice(0, Math.max(first < 0 ? points.length - 1 : first - 1, points.length - MOST.points));
}

// ---- A pipeline

const cards = new Map();

class Card {
  constructor(name) {
    Object.assign(this, make('card'));
    this.name = name;
    this.colors = new Map();
    this.streams = new Set();
    this.scales = [];
    this.counted = []; // of each health: uptime and messages
    this.rates = [];
    this.p50 = [];
    this.p99 = [];
    this.trend = [];
    this.fired = []; // when decisions fell
    this.last = null;
    this.seen = null;
    put(this.f.name, name);
    this.root.setAttribute('aria-label', `pipeline ${name}`);
    put(this.f.pick.firstChild, `Stream of ${name}`);
    this.f.streams.addEventListener('change', () => { this.scales = []; });
  }

  color(label) {
    if (!this.colors.has(label) && this.colors.size < 64) this.colors.set(label, this.colors.size % 8);
    return `k${this.colors.get(label) ?? 7}`;
  }

  /** Takes what health says, also while nothing is painted: a rate needs every sample. */
  measure(status, uptime) {
    const t = now();
    const messages = number(status.messages) ?? 0;
    const before = this.counted.at(-1);
    if (before && (uptime < before.uptime || messages < before.messages)) {
      this.counted = [];
      this.rates.push([t, null]);
    } else if (before && uptime - before.uptime > 8) {
      this.rates.push([t - 1, null]);
    }
    const base = this.counted.findLast((one) => uptime - one.uptime > 1.5);
    this.counted.push({ uptime, messages });
    if (this.counted.length > 20) this.counted.shift();
    if (base) this.rates.push([t, (messages - base.messages) / (uptime - base.uptime)]);
    this.p50.push([t, number(status.latency_seconds?.p50)]);
    this.p99.push([t, number(status.latency_seconds?.p99)]);
    for (const points of [this.rates, this.p50, this.p99]) trim(points);
  }

  paintStatus(status, part, at) {
    const { f } = this;
    put(f.model, status.model || 'no model');
    const step = status.degrade?.taken ? ` · does with less, step ${status.degrade.taken} of ${status.degrade.of}` : '';
    put(f.engine, (status.engine || '') + step);
    f.engine.title = status.degrade?.why ?? '';
    paintState(f, part, at);
    const rate = this.rates.at(-1)?.[1];
    put(f.rate, number(rate) === null ? '–' : `${digits(rate)}/s`);
    put(f.p50, latency(status.latency_seconds?.p50));
    put(f.p99, latency(status.latency_seconds?.p99));
    for (const name of ['messages', 'decisions', 'dropped']) put(f[name], count(status[name]));
    f.messages.title = status.gated ? `${count(status.gated)} of them gated: nothing new for the model` : '';
    const errors = Object.entries(status.errors ?? {}).filter(([, n]) => n > 0);
    put(f.errors, count(errors.reduce((sum, [, n]) => sum + n, 0)));
    f.errors.title = errors.map(([kind, n]) => `${kind} ${count(n)}`).join(', ');
    tone(f.errors, errors.length ? 'degraded' : 'none');
    spark(f.rates, { first: this.rates });
    spark(f.latencies, { first: this.p50, second: this.p99 });
    this.paintTicks();
    if (this.seen) put(f.age, ago(this.seen));
    if (this.last) put(f.last, `${this.last.text}, ${ago(this.last.t)}`);
  }

  paintTicks() {
    this.fired = this.fired.filter((t) => t > now() - SPAN);
    const ticks = this.fired.map((t) => `M${(120 - (now() - t) / 1000).toFixed(1)} 26V32`);
    this.f.rates.querySelector('.ticks').setAttribute('d', ticks.join(''));
  }

  /** A frame or a window. */
  see(data, draw) {
    this.offer(String(data.stream ?? ''));
    if (this.f.streams.value && this.f.streams.value !== data.stream) return;
    const said = meaning(data.prediction);
    if (number(said.trend ?? null) !== null) {
      this.trend.push([now(), said.trend]);
      trim(this.trend);
    }
    this.seen = now();
    paint(`see ${this.name}`, () => {
      this.root.classList.remove('idle');
      draw.call(this, data, said);
    });
  }

  offer(stream) {
    if (this.streams.has(stream) || this.streams.size >= MOST.streams) return;
    this.streams.add(stream);
    this.f.streams.append(new Option(stream, stream));
    show(this.f.pick, this.streams.size > 1);
  }

  paintSaid(data, said) {
    const { f } = this;
    put(f.stream, String(data.stream ?? ''));
    put(f.age, ago(this.seen));
    put(f.verdict, said.title);
    put(f.score, said.score);
    const bars = said.bars.slice(0, MOST.bars);
    // The tallest so far, so that nothing below moves when objects come and go.
    this.tallest = Math.max(this.tallest ?? 0, bars.length);
    f.bars.style.minHeight = `${this.tallest * 1.5}rem`;
    paintBars(f.bars, bars, (name) => this.color(name));
    show(f.trend, said.trend != null || said.line);
    if (said.line) {
      const shown = said.line.slice(0, 240);
      const step = 119e3 / Math.max(1, shown.length - 1);
      const end = now();
      spark(f.trend, { first: shown.map((value, i) => [end - 119.5e3 + i * step, number(value)]) }, null);
    } else if (said.trend != null) {
      spark(f.trend, { first: this.trend }, Math.min(0, ...this.trend.map(([, value]) => value)));
    }
  }

  paintWindow(data, said) {
    const { f } = this;
    const channels = list(data.channels).map(list);
    const drawn = channels.slice(0, MOST.lanes);
    show(f.stage, false);
    show(f.lanes, drawn.length > 0);
    show(f.idle, drawn.length === 0);
    put(f.idle, 'This input has no picture.');
    f.lanes.classList.toggle('dense', drawn.length > 4);
    const longest = Math.max(2, ...drawn.map((values) => values.length));
    f.chart.setAttribute('viewBox', `0 0 ${longest - 1} ${drawn.length * 40}`);
    f.chart.setAttribute('aria-label', `Newest window of ${this.name}, channels: ${channels.length}`);
    match(f.chart, drawn.length, () => document.createElementNS('http://www.w3.org/2000/svg', 'path'));
    match(f.scales, drawn.length, scale);
    drawn.forEach((values, i) => this.paintLane(values, i));
    this.paintSaid(data, said);
    if (channels.length > drawn.length) {
      put(f.stream, `${data.stream}, ${drawn.length} of ${channels.length} channels`);
    }
  }

  paintLane(values, i) {
    const finite = values.filter((value) => number(value) !== null);
    let [low, high] = [Math.min(...finite), Math.max(...finite)];
    if (!finite.length) [low, high] = [0, 0];
    // The scale grows at once and shrinks slowly: a quiet moment does not look like a storm.
    const before = this.scales[i] ?? [low, high];
    low = Math.min(low, before[0] + (low - before[0]) * 0.05);
    high = Math.max(high, before[1] + (high - before[1]) * 0.05);
    this.scales[i] = [low, high];
    let d = '';
    let isOpen = false;
    values.forEach((value, x) => {
      if (number(value) === null) { isOpen = false; return; }
      const y = high > low ? i * 40 + 36 - ((value - low) / (high - low)) * 32 : i * 40 + 20;
      d += `${isOpen ? 'L' : 'M'}${x} ${y.toFixed(1)}`;
      isOpen = true;
    });
    const path = this.f.chart.children[i];
    path.setAttribute('class', `k${i % 8}`);
    path.setAttribute('d', d);
    const [name, top, bottom] = this.f.scales.children[i].children;
    put(name, String(i + 1));
    put(top, digits(high));
    put(bottom, digits(low));
  }

  async paintFrame(data, said) {
    if (this.decoding) { this.next = [data, said]; return; }
    this.decoding = true;
    try {
      const bytes = Uint8Array.from(atob(data.jpeg), (c) => c.charCodeAt(0));
      const picture = await createImageBitmap(new Blob([bytes], { type: 'image/jpeg' }));
      this.showFrame(data, said, picture);
      picture.close();
    } catch {
      this.paintSaid(data, said);
      put(this.f.age, 'the picture cannot be read');
    }
    this.decoding = false;
    const { next } = this;
    this.next = null;
    if (next) this.paintFrame(...next);
  }

  showFrame(data, said, picture) {
    const { f } = this;
    const [width, height] = [number(data.width) || picture.width, number(data.height) || picture.height];
    show(f.lanes, false);
    show(f.idle, false);
    show(f.stage, true);
    f.stage.style.aspectRatio = `${width} / ${height}`;
    f.stage.style.width = `min(100cqw, ${(100 * width) / height}cqh)`;
    Object.assign(f.canvas, { width: picture.width, height: picture.height });
    f.canvas.getContext('2d').drawImage(picture, 0, 0);
    const found = said.bars.map((bar) => `${bar.name} ${bar.text}`).join(', ');
    f.canvas.setAttribute('aria-label', `Newest frame of ${this.name}: ${found || said.title}`);
    const boxes = list(data.prediction?.detections).slice(0, 50);
    match(f.boxes, boxes.length, box);
    boxes.forEach(({ label, score: sure, x, y, w, h }, i) => {
      const node = f.boxes.children[i];
      node.className = this.color(String(label));
      node.classList.toggle('low', y < height * 0.08);
      node.classList.toggle('right', x > width * 0.7);
      const across = (pixels) => `${(100 * pixels) / width}%`;
      const down = (pixels) => `${(100 * pixels) / height}%`;
      Object.assign(node.style, { left: across(x), top: down(y), width: across(w), height: down(h) });
      put(node.firstChild, `${label} ${score(sure)}`);
    });
    this.paintSaid(data, said);
  }

  decided(decision, t) {
    this.fired.push(t);
    if (this.fired.length > MOST.points) this.fired.shift();
    this.last = { t, text: `last decision: ${decision.rule} on ${decision.stream}` };
    paint(`decided ${this.name}`, () => {
      this.paintTicks();
      put(this.f.last, `${this.last.text}, ${ago(this.last.t)}`);
      if (now() - t < 5e3) flash(this.root);
    });
  }
}

function ago(t) {
  const seconds = (now() - t) / 1000;
  return seconds < 3 ? 'now' : `${duration(seconds)} ago`;
}

function flash(node) {
  node.classList.add('fired');
  node.addEventListener('animationend', () => node.classList.remove('fired'), { once: true });
}

/** Gives a parent so many children. */
function match(parent, wanted, create) {
  while (parent.children.length > wanted) parent.lastElementChild.remove();
  while (parent.children.length < wanted) parent.append(create());
}

function element(name, ...children) {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}

const box = () => element('div', element('span'));
const scale = () => element('div', element('b'), element('span'), element('span'));
const bar = () => element('li', element('span'), element('div', element('i')), element('b'));

function paintBars(parent, bars, color) {
  match(parent, bars.length, bar);
  bars.forEach((one, i) => {
    const node = parent.children[i];
    const [name, track, value] = node.children;
    node.className = `${color(one.name)}${one.best ? ' best' : ''}${one.fill === undefined ? ' bare' : ''}`;
    put(name, one.name);
    put(value, one.text);
    track.firstChild.style.width = `${100 * Math.min(1, Math.max(0, one.fill ?? 0))}%`;
  });
}

/** State, since when and why, of a part of the device. */
function paintState(f, part, at) {
  const state = part?.state ?? 'none';
  tone(f.state, state);
  const since = Date.parse(part?.since);
  const long = Number.isNaN(since) || Number.isNaN(at) ? '' : ` for ${duration((at - since) / 1000)}`;
  put(f.state, state === 'none' ? '' : `${state}${long}`);
  f.state.title = clock(part?.since) && `since ${clock(part.since)}`;
  show(f.why, Boolean(part?.why));
  put(f.why, String(part?.why ?? ''));
}

// ---- Health

let health = null; // the newest
let skew = null; // the device's wall clock less our steady one

function onHealth(h) {
  const at = Date.parse(h.at);
  health = h;
  skew = Number.isNaN(at) ? skew : at - now();
  const uptime = number(h.uptime_seconds) ?? now() / 1000;
  const pipelines = list(h.pipelines).slice(0, MOST.cards);
  for (const status of pipelines) cardOf(status.name)?.measure(status, uptime);
  const names = new Set(pipelines.map((status) => status.name));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    card.root.remove();
    cards.delete(name);
  }
  const running = pipelines.map((status) => status.model).join();
  if (running !== onHealth.running) {
    onHealth.running = running;
    refreshModels();
  }
  paint('health', () => paintHealth(h, at, pipelines));
}

function cardOf(name) {
  if (!cards.has(name)) {
    if (cards.size >= MOST.cards) return null;
    const card = new Card(String(name));
    cards.set(name, card);
    $('cards').append(card.root);
  }
  return cards.get(name);
}

function paintHealth(h, at, pipelines) {
  const parts = list(h.parts);
  const degraded = parts.filter((part) => part.state !== 'ok');
  put($('device'), String(h.device ?? 'eir'));
  const about = [`eir ${h.version ?? ''}`, `up ${duration(h.uptime_seconds)}`, h.role];
  put($('about'), about.filter(Boolean).join(' · '));
  document.title = `${degraded.length ? '! ' : ''}${h.device ?? 'device'} · eir`;
  paintStanding(h, degraded.length);
  show($('no-pipelines'), !pipelines.length);
  pipelines.forEach((status, i) => {
    const card = cards.get(status.name);
    if (!card) return;
    const place = $('cards').children[i] ?? null;
    if (place !== card.root) $('cards').insertBefore(card.root, place);
    card.paintStatus(status, parts.find((part) => part.kind === 'pipeline' && part.name === status.name), at);
  });
  const rank = (part) => (part.state === 'ok' ? 1 : 0) + (part.kind === 'pipeline' ? 0.5 : 0);
  const worstFirst = [...parts].sort((a, b) => rank(a) - rank(b));
  rows($('parts'), worstFirst.map((part) => ({ key: `${part.kind} ${part.name}`, part })), 'part', (f, { part }) => {
    put(f.name, String(part.name));
    put(f.note, part.kind === part.name ? '' : String(part.kind));
    paintState(f, part, at);
  });
  paintOutbox(h, parts);
  const total = pipelines.reduce((sum, status) => sum + (number(status.decisions) ?? 0), 0);
  put($('decision-count'), `${count(total)} since the start`);
  show($('reload'), isAdmin());
}

function paintStanding(h, degraded) {
  const words = [];
  if (h.live === false) words.push('stalled');
  else if (h.ready === false) words.push('not ready');
  if (degraded) words.push(`${degraded} degraded`);
  put($('standing'), words.join(', ') || 'all well');
  tone($('standing'), h.live === false ? 'bad' : words.length ? 'degraded' : 'ok');
}

function paintOutbox(h, parts) {
  const { outbox } = h;
  show($('outbox'), outbox);
  show($('no-outbox'), !outbox);
  if (outbox) {
    const text = {
      records: count(outbox.records),
      bytes: size(outbox.bytes),
      oldest: duration(outbox.oldest_seconds) || '–',
      waiting: count(outbox.waiting),
    };
    for (const node of $('outbox').querySelectorAll('[data-f]')) put(node, text[node.dataset.f]);
  }
  rows($('clouds'), list(h.clouds).map((cloud) => ({ key: cloud.name, cloud })), 'part', (f, { cloud }) => {
    const part = parts.find((one) => one.kind === 'cloud' && one.name === cloud.name);
    put(f.name, String(cloud.name));
    put(f.state, String(cloud.state ?? ''));
    tone(f.state, part?.state ?? (cloud.why ? 'degraded' : 'ok'));
    put(f.note, `${count(cloud.sent)} sent`);
    f.why.classList.toggle('calm', f.state.dataset.state === 'ok');
    put(f.why, String(cloud.why ?? ''));
    show(f.why, Boolean(cloud.why));
  });
}

// ---- Decisions

let fallen = []; // not yet in the list, oldest first
const listed = new Map(); // what is in the list, by id

function onDecision(decision) {
  const id = String(decision.id);
  if (listed.has(id) || fallen.some((one) => one.id === id)) return;
  const at = Date.parse(decision.at);
  const t = skew === null || Number.isNaN(at) ? now() : Math.min(now(), at - skew);
  cards.get(decision.pipeline)?.decided(decision, t);
  fall({ id, decision, t });
}

const onGap = ({ missed }) => fall({ id: `gap ${now()}`, missed });

function fall(one) {
  fallen.push(one);
  if (fallen.length > MOST.decisions) fallen.shift();
  paint('decisions', paintDecisions);
}

function paintDecisions() {
  const parent = $('decisions');
  for (const one of fallen) {
    const item = one.decision ? decisionItem(one) : gapItem(one);
    parent.prepend(item);
    listed.set(one.id, item);
    if (one.decision) speak(one.decision);
  }
  fallen = [];
  for (const [id, item] of listed) {
    if (listed.size <= MOST.decisions) break;
    item.remove();
    listed.delete(id);
  }
  show($('no-decisions'), false);
  show(parent, true);
}

function gapItem({ missed }) {
  const item = element('li', `Missed meanwhile: ${count(missed)} decisions.`);
  item.className = 'gap';
  return item;
}

function decisionItem({ id, decision, t }) {
  const { root, f } = make('decision');
  const said = meaning(decision.prediction);
  root.dataset.id = id;
  f.at.dateTime = String(decision.at);
  put(f.at, clock(decision.at));
  put(f.rule, String(decision.rule));
  put(f.from, [decision.pipeline, decision.stream].filter(Boolean).join(' · '));
  put(f.what, brief(said));
  const took = number(decision.latency_us) === null ? '' : latency(decision.latency_us / 1e6);
  put(f.by, [`${decision.model}@${decision.version}`, took].filter(Boolean).join(' · '));
  if (decision.amends) {
    put(f.opinion, decision.stands ? 'second opinion: stands' : 'second opinion: withdrawn');
    show(f.opinion, true);
    if (!decision.stands) withdraw(listed.get(decision.amends));
  }
  // Written when it is opened: most never are.
  const write = () => put(f.all, JSON.stringify(decision, shorter, 1));
  root.firstElementChild.addEventListener('toggle', write, { once: true });
  if (now() - t < 5e3) flash(root);
  return root;
}

function withdraw(item) {
  const mark = item?.querySelector('.opinion');
  if (!mark) return;
  item.classList.add('withdrawn');
  put(mark, 'withdrawn');
  show(mark, true);
}

function shorter(_, value) {
  return Array.isArray(value) && value.length > 32 ? [...value.slice(0, 32), `and ${value.length - 32} more`] : value;
}

/** Tells a screen reader, at most every five seconds however many there are. */
function speak(decision) {
  speak.number = (speak.number ?? 0) + 1;
  speak.newest = `${decision.pipeline}: ${decision.rule} on ${decision.stream}, ${brief(meaning(decision.prediction))}`;
  if (speak.timer) return;
  const say = () => {
    speak.timer = speak.number ? setTimeout(say, 5000) : null;
    if (!speak.number) return;
    put($('spoken'), speak.number > 1 ? `${speak.number} decisions, the newest ${speak.newest}` : speak.newest);
    speak.number = 0;
  };
  speak.timer = setTimeout(say, 500);
}

// ---- Models, and what an admin may do

const isAdmin = () => health?.role === 'admin';

async function refreshModels() {
  if (refreshModels.isRefused) return;
  let answer;
  try {
    answer = await request('v2/repository/index', { method: 'POST' });
    if (answer.ok) paintModels(list(await answer.json()));
  } catch { return; /* the stream tells that the device is away */ }
  refreshModels.isRefused = answer.status === 403;
  show($('models'), answer.ok);
  show($('no-models'), !answer.ok || !$('models').children.length);
  put($('no-models'), answer.ok ? 'There are no models.' : 'The models cannot be seen.');
}

function paintModels(entries) {
  const byName = new Map();
  for (const entry of entries) byName.set(entry.name, [...(byName.get(entry.name) ?? []), entry]);
  const models = [...byName].sort(([a], [b]) => (a < b ? -1 : 1));
  rows($('models'), models.map(([name, versions]) => ({ key: name, name, versions })), 'model', paintModel);
}

function paintModel(f, { name, versions }) {
  put(f.name, String(name));
  versions.sort((a, b) => Number(b.version) - Number(a.version));
  match(f.versions, versions.length, () => element('li'));
  versions.forEach(({ version, state, reason }, i) => {
    const isReady = state === 'READY';
    tone(f.versions.children[i], isReady ? 'ok' : 'none');
    const why = reason && !isReady ? `: ${reason}` : '';
    put(f.versions.children[i], `${version} ${String(state).toLowerCase()}${why}`);
  });
  const ready = versions.filter(({ state }) => state === 'READY').length;
  show(f.load, isAdmin() && ready < versions.length);
  show(f.unload, isAdmin() && ready > 0);
  for (const verb of ['load', 'unload']) {
    const path = `v2/repository/models/${encodeURIComponent(name)}/${verb}`;
    f[verb].setAttribute('aria-label', `${f[verb].textContent} ${name}`);
    f[verb].onclick = () => act(f[verb], $('loaded'), path, `${name} is ${verb}ed.`);
  }
}

async function act(button, said, path, done) {
  if (button.getAttribute('aria-disabled') === 'true') return;
  button.setAttribute('aria-disabled', 'true');
  put(said, 'One moment.');
  tone(said, 'none');
  let problem = null;
  try {
    const answer = await request(path, { method: 'POST' });
    const body = await answer.json().catch(() => ({}));
    problem = body.error ?? (answer.ok ? null : `the device answered ${answer.status}`);
  } catch {
    problem = 'the device cannot be reached';
  }
  button.removeAttribute('aria-disabled');
  put(said, String(problem ?? done));
  tone(said, problem === null ? 'ok' : 'bad');
  if (problem === null) setTimeout(() => { if (said.textContent === done) put(said, ''); }, 8000);
  const hadFocus = document.activeElement === button;
  await refreshModels();
  if (hadFocus && !button.getClientRects().length) button.parentElement.querySelector('button:not([hidden])')?.focus();
}

// ---- The connection

let token = remembered('sessionStorage', 'eir-token');
let lastId = null;
let lost = null; // why nothing arrives, in words
let wake = () => {};
let hangUp = () => {};

function request(path, { headers, method, signal } = {}) {
  const all = { ...headers };
  if (token) all.Authorization = `Bearer ${token}`;
  if (method) all['Content-Type'] = 'application/json';
  return fetch(path, { method, signal, headers: all, body: method && '{}', cache: 'no-store' });
}

function paintBanner() {
  const words = lost ?? (paused ? 'Paused: what happens meanwhile appears when you go on.' : '');
  put($('link'), words);
  $('link').classList.toggle('shown', words !== '');
  tone($('link'), lost ? 'bad' : 'none');
  document.body.classList.toggle('lost', lost !== null);
  if (!lost) return;
  put($('standing'), 'no connection');
  tone($('standing'), 'none');
}

function linkIs(words) {
  lost = words;
  paintBanner();
}

/** The events of a text/event-stream. */
async function* eventsOf(body, heard) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let event = { type: 'message', data: [] };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
    rest = lines.pop();
    if (rest.length > 64e6) throw new Error('a line without an end');
    for (const line of lines) {
      const [, name, text] = /^([^:]*):? ?(.*)$/.exec(line);
      if (name === 'event') event.type = text;
      else if (name === 'data') event.data.push(text);
      else if (name === 'id') event.id = text;
      else if (line === '') {
        if (event.data.length) yield event;
        event = { type: 'message', data: [] };
      }
    }
  }
}

const on = {
  health: onHealth,
  decision: onDecision,
  gap: onGap,
  frame: (data) => cardOf(data.pipeline)?.see(data, Card.prototype.paintFrame),
  window: (data) => cardOf(data.pipeline)?.see(data, Card.prototype.paintWindow),
};

/** Follows the device until the connection ends. What went wrong is thrown. */
async function follow(opened) {
  const abort = new AbortController();
  let heard = now();
  const watch = setInterval(() => { if (now() - heard > SILENCE) abort.abort(); }, 1000);
  hangUp = () => abort.abort();
  try {
    const headers = { Accept: 'text/event-stream' };
    if (lastId) headers['Last-Event-ID'] = lastId;
    const answer = await request('v2/events', { headers, signal: abort.signal });
    if (!answer.ok) {
      const body = await answer.json().catch(() => ({}));
      throw Object.assign(new Error(body.error ?? `it answered ${answer.status}`), { status: answer.status });
    }
    opened();
    for await (const event of eventsOf(answer.body, () => { heard = now(); })) {
      if (/^[\x21-\x7e]{1,200}$/.test(event.id ?? '')) lastId = event.id;
      attempt(() => on[event.type]?.(JSON.parse(event.data.join('\n'))));
    }
  } finally {
    clearInterval(watch);
  }
}

/** The stream tells of health every two seconds: the page need not be empty until then. */
async function firstHealth() {
  try {
    const answer = await request('v2/health/detail');
    const h = answer.ok ? await answer.json() : null;
    if (h && !health) onHealth(h);
  } catch { /* the stream tells */ }
}

async function live() {
  let wait = 1000;
  for (;;) {
    let refused = null;
    try {
      await follow(() => {
        wait = 1000;
        linkIs(null);
        onHealth.running = null;
        paintSign();
        firstHealth();
      });
    } catch (problem) {
      refused = problem;
    }
    if (refused?.status === 401 || refused?.status === 403) {
      linkIs('Not signed in.');
      await askToken(refused);
      continue;
    }
    if (isAway) {
      while (document.hidden) await nap(60e3);
      continue;
    }
    const answered = refused?.status && `The device answers: ${refused.message}. Trying again.`;
    linkIs(answered || 'Connection lost, trying again.');
    await nap(wait * (1 + Math.random() / 5));
    wait = Math.min(wait * 2, 10e3);
  }
}

function nap(time) {
  return new Promise((done) => {
    const timer = setTimeout(done, time);
    wake = () => { clearTimeout(timer); done(); };
  });
}

let isAway = false;
let leave = null;

function onVisibility() {
  clearTimeout(leave);
  isAway = false;
  if (document.hidden) leave = setTimeout(() => { isAway = true; hangUp(); }, UNSEEN);
  else wake();
}

// ---- The token

function askToken({ status, message }) {
  let words = token ? 'The device does not know this token.' : '';
  if (status === 403) words = `This token may not look: ${message}.`;
  token = null;
  remember('sessionStorage', 'eir-token', null);
  paintSign();
  put($('refused'), words);
  $('token').value = '';
  if (!$('ask').open) $('ask').showModal();
  return new Promise((done) => { askToken.done = done; });
}

function takeToken(event) {
  event.preventDefault();
  const given = $('token').value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    put($('refused'), 'A token has letters, digits and signs, and no spaces.');
    return;
  }
  token = given;
  remember('sessionStorage', 'eir-token', token);
  $('token').value = '';
  $('ask').close();
  askToken.done?.();
}

/** Forgets the token, or asks for one. */
function sign() {
  if (!token) {
    $('ask').showModal();
    return;
  }
  token = null;
  remember('sessionStorage', 'eir-token', null);
  location.reload();
}

function paintSign() {
  put($('sign'), token ? 'Forget token' : 'Enter token');
  show($('sign'), token !== null || lost !== null);
}

// ---- The start

paintTheme();
dark.addEventListener('change', paintTheme);

document.addEventListener('DOMContentLoaded', () => {
  paintTheme();
  $('theme').addEventListener('click', toggleTheme);
  $('pause').addEventListener('click', togglePause);
  $('sign').addEventListener('click', sign);
  $('reload').addEventListener('click', () => (
    act($('reload'), $('reloaded'), 'v2/admin/reload', 'The configuration is in force.')));
  $('ask').querySelector('form').addEventListener('submit', takeToken);
  $('later').addEventListener('click', () => $('ask').close());
  document.addEventListener('visibilitychange', onVisibility);
  window.addEventListener('online', () => wake());
  setInterval(() => { if (!lost && !document.hidden) refreshModels(); }, 30e3);
  live();
});
