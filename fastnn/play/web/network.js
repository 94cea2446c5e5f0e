// A network in JavaScript: the same formulas as fastnn/reference.py, in double precision.

import { bytesOf } from "./dom.js";

const expOf = Math.exp;
const sigmoid = (z) => (z >= 0 ? 1 / (1 + expOf(-z)) : expOf(z) / (1 + expOf(z)));
const softplus = (z) => Math.max(z, 0) + Math.log1p(expOf(-Math.abs(z)));

/** (1 + erf(z / √2)) / 2: a series near 0, a continued fraction beyond. */
function normalCdf(z) {
  const x = Math.abs(z);
  const density = expOf((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  let upper;
  if (x < 3) {
    let sum = x,
      term = x;
    for (let k = 3; term > 1e-17 * sum; k += 2) sum += term *= (x * x) / k;
    upper = 0.5 - density * sum;
  } else {
    let fraction = x;
    for (let k = 60; k > 0; k--) fraction = x + k / fraction;
    upper = density / fraction;
  }
  return z > 0 ? 1 - upper : upper;
}

export const ACTIVATIONS = {
  identity: (z) => z,
  sigmoid,
  tanh: Math.tanh,
  relu: (z) => Math.max(z, 0),
  leaky_relu: (z, slope) => (z > 0 ? z : slope * z),
  gelu: (z) => z * normalCdf(z),
  elu: (z, alpha) => (z < 0 ? alpha * Math.expm1(z) : z),
  selu: (z) => 1.0507009873554805 * (z < 0 ? 1.6732632423543772 * Math.expm1(z) : z),
  gelu_tanh: (z) => z * sigmoid(2 * Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)),
  silu: (z) => z * sigmoid(z),
  softplus,
  softsign: (z) => z / (1 + Math.abs(z)),
  mish: (z) => z * Math.tanh(softplus(z)),
  exponential: expOf,
  hard_sigmoid: (z) => Math.min(Math.max(z / 6 + 0.5, 0), 1),
  hard_tanh: (z) => Math.min(Math.max(z, -1), 1),
};

function softmax(z) {
  const largest = Math.max(...z);
  const e = z.map((value) => expOf(value - largest));
  const sum = e.reduce((total, value) => total + value, 0);
  return e.map((value) => value / sum);
}

const floats = (text) => new Float32Array(bytesOf(text).buffer);

/** One dense layer: h = g(z), z = x W + b; W (inputs, units) row by row. */
class DenseLayer {
  constructor(entry, inputs) {
    Object.assign(this, {
      inputs,
      units: entry.units,
      activation: entry.activation,
      slope: entry.slope,
    });
    this.weights = floats(entry.weights);
    this.biases = floats(entry.biases);
  }

  sums(x) {
    const z = Float64Array.from(this.biases);
    const { units, weights } = this;
    for (let i = 0; i < this.inputs; i++) {
      const value = x[i];
      if (value === 0) continue;
      for (let j = 0, k = i * units; j < units; j++, k++) z[j] += value * weights[k];
    }
    return z;
  }

  apply(z) {
    if (this.activation === "softmax") return softmax(z);
    const g = ACTIVATIONS[this.activation];
    return z.map((value) => g(value, this.slope));
  }

  /** g'(z), by the difference of two values nearby: no formula is written twice. */
  derivative(z) {
    const g = ACTIVATIONS[this.activation];
    return z.map((value) => {
      const step = 1e-5 * Math.max(1, Math.abs(value));
      return (g(value + step, this.slope) - g(value - step, this.slope)) / (2 * step);
    });
  }

  /** dx = dz Wᵀ. */
  back(dz) {
    const dx = new Float64Array(this.inputs);
    const { units, weights } = this;
    for (let i = 0; i < this.inputs; i++) {
      let sum = 0;
      for (let j = 0, k = i * units; j < units; j++, k++) sum += dz[j] * weights[k];
      dx[i] = sum;
    }
    return dx;
  }
}

/** A network as description.py describes it. Weights may be changed, neurons silenced. */
export class Network {
  constructor(description) {
    Object.assign(this, description);
    let inputs = description.inputs;
    this.layers = description.layers.map((entry) => {
      const layer = new DenseLayer(entry, inputs);
      inputs = layer.units;
      return layer;
    });
    this.outputs = inputs;
    this.silenced = this.layers.map(() => new Set());
    this.changed = new Map(); // "layer,i,j" → the weight that was there
    this.top = description.scale === 1 ? 1 : 1 / description.scale; // ink, of a picture
  }

  scaled(x) {
    const { center, factor, scale } = this;
    return Float64Array.from(x, (value, i) =>
      center ? (value - center[i]) * factor[i] : value * scale,
    );
  }

  /** The inputs that are scaled to these. */
  unscaled(h) {
    const { center, factor, scale } = this;
    return h.map((value, i) =>
      center ? center[i] + (factor[i] ? value / factor[i] : 0) : value / scale,
    );
  }

  /** {h: [input, layer 1, ..., output], z: [null, sums of layer 1, ...]}; the input is the scaled one. */
  forward(x) {
    return this.forwardScaled(this.scaled(x));
  }

  forwardScaled(input) {
    const h = [input],
      z = [null];
    this.layers.forEach((layer, l) => {
      z.push(layer.sums(h[l]));
      const values = layer.apply(z[l + 1]);
      for (const neuron of this.silenced[l]) if (l < this.layers.length - 1) values[neuron] = 0;
      h.push(values);
    });
    return { h, z };
  }

  /** What the network says, in the units of the targets. */
  predict(x) {
    return this.inUnits(this.forward(x).h.at(-1));
  }

  inUnits(h) {
    const { outputCenter, outputScale } = this;
    return outputCenter ? h.map((value, i) => value * outputScale + outputCenter[i]) : h;
  }

  /** Probabilities, or numbers, to be shown: one output of two classes becomes two. */
  shown(h) {
    const out = this.inUnits(h);
    return this.classes && out.length === 1 ? [1 - out[0], out[0]] : Array.from(out);
  }

  get isProbable() {
    return ["softmax", "sigmoid"].includes(this.layers.at(-1).activation);
  }

  /** d/dx of Σ seed · z of the last layer, given the values of a forward pass. */
  gradient(values, seed) {
    return this.gradientScaled(values, seed).map(
      (value, i) => value * (this.center ? this.factor[i] : this.scale),
    );
  }

  /** The same for the scaled input. */
  gradientScaled({ z }, seed) {
    let dz = Float64Array.from(seed);
    for (let l = this.layers.length - 1; l >= 0; l--) {
      let dx = this.layers[l].back(dz);
      if (l === 0) return dx;
      const slopes = this.layers[l - 1].derivative(z[l]);
      dz = dx.map((value, i) => (this.silenced[l - 1].has(i) ? 0 : value * slopes[i]));
    }
  }

  /** The seed that asks for an output, or for it against another one. */
  seed(target, against) {
    const seed = new Array(this.outputs).fill(0);
    if (this.outputs === 1) seed[0] = this.classes && target === 0 ? -1 : 1;
    else {
      seed[target] = 1;
      if (against !== null && against !== target) seed[against] = -1;
    }
    return seed;
  }

  /** What each input adds to the last layer's sum for `target` (less that for `against`).
   *
   * Integrated gradients from the baseline: the parts add up to the change of the sum.
   * Sundararajan, Taly, Yan, Axiomatic attribution for deep networks (2017).
   */
  attribute(x, target, against, baseline, steps) {
    const seed = this.seed(target, against);
    const total = new Float64Array(this.inputs);
    for (let k = 0; k < steps; k++) {
      const share = (k + 0.5) / steps;
      const between = baseline.map((from, i) => from + share * (x[i] - from));
      const gradient = this.gradient(this.forward(between), seed);
      for (let i = 0; i < total.length; i++)
        total[i] += (gradient[i] * (x[i] - baseline[i])) / steps;
    }
    return total;
  }

  weight(l, i, j) {
    return this.layers[l].weights[i * this.layers[l].units + j];
  }

  change(l, i, j, value) {
    const { weights, units } = this.layers[l],
      key = `${l},${i},${j}`;
    if (!this.changed.has(key)) this.changed.set(key, weights[i * units + j]);
    weights[i * units + j] = value;
  }

  /** All weights as they were, all neurons awake. */
  restore() {
    for (const [key, value] of this.changed) {
      const [l, i, j] = key.split(",").map(Number);
      this.layers[l].weights[i * this.layers[l].units + j] = value;
    }
    this.changed.clear();
    this.silenced.forEach((set) => set.clear());
  }

  /** What was changed, as the server takes it. */
  edits() {
    const weights = [...this.changed.keys()].map((key) => {
      const [l, i, j] = key.split(",").map(Number);
      return [l, i, j, this.weight(l, i, j)];
    });
    return {
      weights,
      silenced: this.silenced.flatMap((set, l) => [...set].map((neuron) => [l, neuron])),
    };
  }
}

// ------------------------------------------------------------------------- columns of a table

/** The raw columns of a network's inputs: what a person sets, and how many inputs it makes. */
export function columnsOf(network) {
  const { columns, features, inputs, ranges } = network;
  if (!columns) {
    return Array.from({ length: inputs }, (_, i) => ({
      kind: "number",
      name: features[i] ?? `input ${i + 1}`,
      start: i,
      width: 1,
      low: ranges.low[i],
      high: ranges.high[i],
      mean: ranges.mean[i],
      whole: ranges.whole[i],
      encode: (value) => [value],
      decode: ([value]) => value,
    }));
  }
  let start = 0;
  return columns.map((entry) => {
    const column =
      entry.kind === "one_hot" ? wordsColumn(entry, start) : numbersColumn(entry, start, ranges);
    start += column.width;
    return column;
  });
}

function wordsColumn({ key, categories }, start) {
  return {
    kind: "words",
    name: String(key),
    start,
    width: categories.length,
    categories,
    encode: (value) => categories.map((category) => Number(category === value)),
    decode: (cells) => categories[cells.indexOf(1)] ?? null,
  };
}

function numbersColumn({ key, center, factor, clip, missing }, start, ranges) {
  const width = missing === "indicator" ? 2 : 1;
  const encode = (value) => {
    let z = value === null ? 0 : (value - center) * factor;
    if (clip) z /= Math.hypot(1, z / clip);
    return width === 2 ? [z, Number(value === null)] : [z];
  };
  const decode = ([z, lost]) => {
    if (lost === 1) return null;
    const plain = clip ? z / Math.sqrt(Math.max(1e-12, 1 - (z / clip) ** 2)) : z;
    return factor ? plain / factor + center : center;
  };
  return {
    kind: "number",
    name: String(key),
    start,
    width,
    encode,
    decode,
    whole: false,
    low: decode([ranges.low[start]]),
    high: decode([ranges.high[start]]),
    mean: center,
  };
}
