// The picture of a network: the input, layers of circles lit by activation, the answers.

import { clamp, make, percent, shortly } from "./dom.js";
import { paintInk, pixels } from "./charts.js";

const COLUMN = 24; // neurons in one column at most; more stand in a block
const RECEIVERS = 24; // of a thinned picture: neurons of a layer that are drawn with edges,
const EDGES = 7; // and edges of each
const ALL = 700; // edges that are all drawn
const DIM = 0.05; // of the strongest edge: what is less is not drawn,
const DASHED = 0.2; // or not dashed
const EDGES_WAIT = 50; // ms
const ANSWERS = 14; // shown at most
const NAMED = 18; // inputs of a table shown at most

/** Draws a network into a box; `act.neuron(l, i)`, `act.answer(k)` and `act.hover(k)` are called. */
export class Stage {
  constructor(box, act) {
    Object.assign(this, { box, act });
    this.space = make("div", { class: "space" });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    box.append(this.space);
    box.addEventListener("keydown", (event) => this.walk(event));
    new ResizeObserver(() => this.network && box.clientWidth !== this.width && this.lay()).observe(
      box,
    );
  }

  /** Another network. */
  show(network, names) {
    Object.assign(this, { network, names });
    this.lay();
  }

  /** Where all stands; the elements. */
  lay() {
    const { network, box } = this;
    this.width = box.clientWidth;
    const narrow = this.width < 560;
    const hidden = network.layers.slice(0, -1).map(({ units }) => units);
    const answers = network.classes ? Math.max(network.outputs, 2) : network.outputs;
    const height = narrow ? 400 : 470,
      top = 40;
    const inputWidth = network.side ? clamp(this.width * 0.2, 60, 168) : narrow ? 84 : 130;
    const answerWidth = narrow ? (network.side ? 118 : 150) : 220;
    const margins = narrow ? 32 : 48;
    const between = Math.max(
      this.width - inputWidth - answerWidth - margins,
      hidden.length * (narrow ? 40 : 64),
    );
    const width = inputWidth + answerWidth + between + margins;
    this.places = [this.inputPlaces(inputWidth, height, top)];
    hidden.forEach((units, l) => {
      const middle = 16 + inputWidth + (between * (l + 0.5)) / hidden.length + 8;
      this.places.push(
        grid(units, middle, between / hidden.length - (narrow ? 14 : 40), top, height - 56),
      );
    });
    this.space.style.width = `${width}px`;
    this.space.style.height = `${height}px`;
    const ratio = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    this.ratio = ratio;
    this.nodes = hidden.map((units, l) => this.layer(l, units));
    this.answers = this.answerRows(answers, width - answerWidth - 8, answerWidth, height, top);
    const captions = [
      caption(
        network.side ? `${network.side} × ${network.side} pixels` : `${network.inputs} inputs`,
        16 + inputWidth / 2,
      ),
      ...hidden.map((units, l) =>
        caption(
          narrow ? `${units}` : `${units} ${network.layers[l].activation}`,
          this.places[l + 1].middle,
        ),
      ),
    ];
    this.space.replaceChildren(
      this.canvas,
      ...this.inputs,
      ...captions,
      ...this.nodes.flat(),
      ...this.answers.map((one) => one.element),
    );
    if (this.values) this.paint(this.values, this.x);
  }

  inputPlaces(width, height, top) {
    const { side, inputs } = this.network,
      x = 16;
    if (side) {
      const y = top + (height - 56 - width) / 2;
      this.tile = pixels("the picture that the network sees");
      Object.assign(this.tile.style, { left: `${x}px`, top: `${y}px`, width: `${width}px` });
      this.inputs = [this.tile];
      const cell = width / side;
      return {
        at: (i) => [x + ((i % side) + 0.5) * cell, y + (Math.floor(i / side) + 0.5) * cell],
        size: cell,
      };
    }
    const shown = Math.min(inputs, NAMED),
      pitch = Math.min(40, (height - 56) / shown);
    const first = top + (height - 56 - shown * pitch) / 2;
    this.tile = null;
    this.inputs = Array.from({ length: shown }, (_, i) => {
      const name = make("div", { class: "input-name", title: this.names[i] }, this.names[i]);
      Object.assign(name.style, {
        left: `${x - 8}px`,
        width: `${width - 16}px`,
        top: `${first + (i + 0.5) * pitch - 9}px`,
      });
      return name;
    });
    return {
      at: (i) => (i < shown ? [x + width - 16, first + (i + 0.5) * pitch] : null),
      size: 6,
      shown,
    };
  }

  layer(l, units) {
    const place = this.places[l + 1];
    return Array.from({ length: units }, (_, i) => {
      const node = make("button", {
        type: "button",
        class: "node",
        tabIndex: i ? -1 : 0,
        "data-at": `${l}.${i}`,
        "aria-label": `layer ${l + 1}, neuron ${i}`,
        "aria-pressed": "false",
        onclick: () => this.act.neuron(l, i),
      });
      const [x, y] = place.at(i),
        size = place.size;
      Object.assign(node.style, {
        left: `${x - size / 2}px`,
        top: `${y - size / 2}px`,
        width: `${size}px`,
        height: `${size}px`,
      });
      return node;
    });
  }

  answerRows(count, left, width, height, top) {
    const shown = Math.min(count, ANSWERS),
      pitch = Math.min(40, (height - 56) / shown);
    const first = top + (height - 56 - shown * pitch) / 2;
    const rows = Array.from({ length: shown }, (_, k) => {
      const parts = {
        dot: make("span", { class: "dot" }),
        name: make("span", { class: "name" }),
        fill: make("div", { class: "fill" }),
        value: make("span", { class: "value" }),
      };
      const track = make("div", { class: "track" }, parts.fill);
      track.style.visibility = this.network.classes || this.network.isProbable ? "" : "hidden";
      const row = { k, y: first + (k + 0.5) * pitch, ...parts };
      row.element = make(
        "button",
        {
          type: "button",
          class: "answer",
          "aria-pressed": "false",
          onclick: () => this.act.answer(row.k),
          onpointerenter: () => this.act.hover(row.k),
          onpointerleave: () => this.act.hover(null),
          onfocus: () => this.act.hover(row.k),
          onblur: () => this.act.hover(null),
        },
        parts.dot,
        parts.name,
        track,
        parts.value,
      );
      Object.assign(row.element.style, {
        left: `${left}px`,
        width: `${width}px`,
        top: `${row.y - pitch * 0.45}px`,
        height: `${pitch * 0.9}px`,
      });
      return row;
    });
    this.places.push({
      at: (k) => {
        const row = rows.find((one) => one.k === k);
        return row ? [left + 14, row.y] : null;
      },
      size: 16,
    });
    return rows;
  }

  /** The arrow keys walk through the neurons of a layer and from layer to layer. */
  walk(event) {
    const at = event.target.dataset?.at,
      steps = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: 0, ArrowRight: 0 };
    if (!at || !(event.key in steps)) return;
    event.preventDefault();
    let [l, i] = at.split(".").map(Number);
    if (event.key === "ArrowLeft") l--;
    else if (event.key === "ArrowRight") l++;
    else i += steps[event.key];
    const layer = this.nodes[l];
    const next =
      layer?.[clamp(i, 0, layer.length - 1)] ??
      (l >= this.nodes.length ? this.answers[0].element : null);
    if (!next) return;
    if (layer) {
      layer.forEach((node) => (node.tabIndex = -1));
      next.tabIndex = 0;
    }
    next.focus();
  }

  /** Light up what a forward pass found. */
  paint(values, x) {
    Object.assign(this, { values, x });
    const { network } = this;
    if (this.tile) paintInk(this.tile, x, network.side, network.top);
    this.nodes.forEach((layer, l) => {
      const h = values.h[l + 1],
        most = h.reduce((found, value) => Math.max(found, Math.abs(value)), 1e-12);
      const full = ["sigmoid", "tanh", "hard_sigmoid", "hard_tanh", "softsign"].includes(
        network.layers[l].activation,
      )
        ? 1
        : most;
      layer.forEach((node, i) => {
        const lit = Math.abs(h[i] / full).toFixed(2);
        const silent = network.silenced[l].has(i) ? " silenced" : "";
        const kind = `node${h[i] < -0.05 * full ? " negative" : ""}${silent}`;
        if (node.lit !== lit) node.style.setProperty("--a", lit);
        if (node.className !== kind) node.className = kind;
        node.lit = lit;
      });
    });
    this.paintAnswers(network.shown(values.h.at(-1)));
    this.edges ??= setTimeout(() => this.paintEdges(), EDGES_WAIT); // a stroke does not wait for them
  }

  /** What the neurons are called, for whoever does not see them. */
  label() {
    const { network, values } = this;
    this.nodes.forEach((layer, l) =>
      layer.forEach((node, i) => {
        node.ariaLabel = `layer ${l + 1}, neuron ${i}: ${network.silenced[l].has(i) ? "silenced" : shortly(values.h[l + 1][i])}`;
      }),
    );
  }

  paintAnswers(out) {
    const { network, answers } = this,
      best = out.indexOf(Math.max(...out));
    if (out.length > answers.length) {
      const largest = out
        .map((_, k) => k)
        .sort((a, b) => out[b] - out[a])
        .slice(0, answers.length)
        .sort((a, b) => a - b);
      answers.forEach((row, i) => (row.k = largest[i]));
    }
    const probable = network.isProbable;
    for (const row of answers) {
      const value = out[row.k],
        share = probable ? clamp(value, 0, 1) : 0;
      row.name.textContent = network.classes
        ? network.classes[row.k]
        : network.outputs === 1
          ? network.target
          : `output ${row.k}`;
      row.element.style.setProperty("--p", share.toFixed(4));
      row.element.style.setProperty("--a", share.toFixed(3));
      row.value.textContent = probable ? percent(value) : shortly(value, 4);
      row.element.classList.toggle("best", Boolean(network.classes) && row.k === best);
    }
  }

  paintEdges() {
    this.edges = null;
    if (!this.values) return;
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.network.layers.forEach((layer, l) => {
      const edges = strongest(layer, this.values.h[l], this.values.h[l + 1], this.places[l].shown);
      const most = edges.reduce((found, [, , part]) => Math.max(found, Math.abs(part)), 1e-12);
      for (const isFor of [true, false]) {
        context.strokeStyle = isFor ? "#ff7762" : "#62a8ff";
        for (const [i, j, part] of edges) {
          if (part > 0 !== isFor || Math.abs(part) < DIM * most) continue;
          context.setLineDash(isFor || Math.abs(part) < DASHED * most ? [] : [5, 4]);
          const from = this.places[l].at(i),
            to = this.places[l + 1].at(this.twoAnswers(l) ? 1 : j);
          if (from && to)
            line(context, from, to, Math.abs(part) / most, [
              this.places[l].size,
              this.places[l + 1].size,
            ]);
        }
      }
    });
    context.setLineDash([]);
  }

  /** Whether layer l has one output that is shown as two answers. */
  twoAnswers(l) {
    return (
      l === this.network.layers.length - 1 && this.network.outputs === 1 && this.network.classes
    );
  }

  /** Which neuron and which answer are chosen. */
  press(neuron, answer) {
    this.nodes.forEach((layer, l) =>
      layer.forEach((node, i) => (node.ariaPressed = String(neuron === `${l}.${i}`))),
    );
    for (const row of this.answers) row.element.ariaPressed = String(row.k === answer);
  }
}

function line(context, from, to, share, [start, end]) {
  const bend = (to[0] - from[0]) * 0.5;
  context.globalAlpha = 0.06 + 0.8 * share ** 1.2;
  context.lineWidth = 0.5 + 2 * share;
  context.beginPath();
  context.moveTo(from[0] + start / 2, from[1]);
  context.bezierCurveTo(from[0] + bend, from[1], to[0] - bend, to[1], to[0] - end / 2, to[1]);
  context.stroke();
  context.globalAlpha = 1;
}

function caption(text, x) {
  const element = make("div", { class: "caption" }, text);
  Object.assign(element.style, { left: `${x}px`, top: "12px" });
  return element;
}

/** Places of neurons: a column, or a block of columns. */
function grid(units, middle, room, top, height) {
  const rows = units <= COLUMN ? units : Math.min(units, units <= 256 ? 16 : 32),
    columns = Math.ceil(units / rows);
  const pitch = Math.min(34, height / rows, columns > 1 ? Math.max(room, 20) / columns : 34);
  const size = pitch * (columns > 1 ? 0.8 : 0.68);
  const left = middle - (columns * pitch) / 2,
    first = top + (height - rows * pitch) / 2;
  return {
    middle,
    size,
    at: (i) => [left + (Math.floor(i / rows) + 0.5) * pitch, first + ((i % rows) + 0.5) * pitch],
  };
}

/** The edges [i, j, weight × activation] that are drawn: all, or the strongest of the most active. */
function strongest(layer, x, h, shown) {
  const { inputs, units, weights } = layer,
    edges = [];
  const few = inputs * units <= ALL;
  let receivers = Array.from({ length: units }, (_, j) => j);
  if (units > RECEIVERS)
    receivers = receivers.sort((a, b) => Math.abs(h[b]) - Math.abs(h[a])).slice(0, RECEIVERS);
  for (const j of receivers) {
    const parts = [];
    for (let i = 0; i < inputs; i++) {
      const part = x[i] * weights[i * units + j];
      if (part !== 0 && !(shown && i >= shown)) parts.push([i, j, part]);
    }
    if (!few) parts.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2])).splice(EDGES);
    edges.push(...parts);
  }
  return edges;
}
