// A table's own pictures: the decision over two features, and the answer as one feature moves.

import { ask, choice, make, shortly } from "./dom.js";
import { lineChart, rgb } from "./charts.js";

const GRID = { x: 78, y: 60 };
const POINTS = 39;
const DOTS = 200;
const CLASS_COLOURS = [
  [54, 92, 201],
  [208, 116, 24],
  [36, 145, 108],
  [176, 58, 138],
  [120, 104, 40],
  [20, 140, 168],
  [190, 60, 50],
  [110, 90, 200],
];
const MARKS = ["●", "■", "▲", "◆", "✚", "★", "▼", "✖"];
const colourOfClass = (k) => CLASS_COLOURS[k % CLASS_COLOURS.length];
const css = (colour) => `rgb(${colour.map(Math.round).join(" ")})`;

const numbersOf = (app) =>
  app.columns
    .map((column, k) => [k, column.name])
    .filter(([k]) => app.columns[k].kind === "number");

/** The same input with some columns set. */
function withColumns(app, pairs) {
  const x = Array.from(app.x);
  for (const [column, value] of pairs)
    column.encode(value).forEach((cell, k) => (x[column.start + k] = cell));
  return x;
}

/** What the network says over any two features; the others stay as they are. */
export class BoundaryCard {
  constructor(app) {
    this.app = app;
    this.controls = make("div", { class: "choices" });
    this.canvas = make("canvas", { role: "img", width: GRID.x * 12, height: GRID.y * 12 });
    this.swatches = make("div", { class: "swatches" });
    this.element = make(
      "section",
      { class: "card", id: "boundary" },
      make("header", {}, make("h2", {}, "Over two features")),
      this.controls,
      make("div", { class: "map" }, this.canvas),
      this.swatches,
    );
    this.dots = [];
  }

  async show() {
    const { app } = this,
      { state } = app,
      names = numbersOf(app);
    this.element.hidden = names.length < 2;
    if (names.length < 2) return;
    const [a, b] = [state.a ?? names[0][0], state.b ?? names[1][0]];
    this.controls.replaceChildren(
      choice("Across", names, a, (value) => app.set({ a: Number(value) })),
      choice("Up", names, b, (value) => app.set({ b: Number(value) })),
    );
    this.dots = app.server
      ? (
          await ask(
            `rows?${new URLSearchParams({ id: state.net, part: "test", first: 0, count: DOTS })}`,
          )
        ).rows
      : [];
    this.paint();
  }

  paint() {
    const { app, canvas } = this,
      { network, state, columns } = app,
      names = numbersOf(app);
    if (names.length < 2) return;
    const across = columns[state.a ?? names[0][0]],
      up = columns[state.b ?? names[1][0]];
    if (!across || !up) return;
    const at = (column, share) => column.low + share * (column.high - column.low);
    const found = [];
    for (let j = 0; j < GRID.y; j++) {
      for (let i = 0; i < GRID.x; i++) {
        const x = withColumns(app, [
          [across, at(across, (i + 0.5) / GRID.x)],
          [up, at(up, 1 - (j + 0.5) / GRID.y)],
        ]);
        found.push(network.shown(network.forward(x).h.at(-1)));
      }
    }
    const small = new OffscreenCanvas(GRID.x, GRID.y),
      context = canvas.getContext("2d"),
      image = new ImageData(GRID.x, GRID.y);
    const values = found.map((out) => out[0]),
      low = Math.min(...values),
      high = Math.max(...values);
    const paper = rgb("--card"),
      accent = rgb("--accent");
    found.forEach((out, i) => {
      const best = out.indexOf(Math.max(...out));
      const [colour, share] = network.classes
        ? [
            colourOfClass(best),
            0.15 + 0.6 * Math.max(0, (out[best] - 1 / out.length) / (1 - 1 / out.length)),
          ]
        : [accent, 0.05 + (0.85 * (out[0] - low)) / (high - low || 1)];
      image.data.set([...paper.map((value, k) => value + share * (colour[k] - value)), 255], 4 * i);
    });
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    const place = (column, value) => (value - column.low) / (column.high - column.low || 1);
    const cells = (x, column) => column.decode(x.slice(column.start, column.start + column.width));
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const row of this.dots) {
      context.font = "22px sans-serif";
      context.fillStyle = css(
        network.classes ? colourOfClass(row.y).map((v) => v * 0.72) : rgb("--text"),
      );
      context.fillText(
        network.classes ? MARKS[row.y % MARKS.length] : "•",
        place(across, cells(row.x, across)) * canvas.width,
        (1 - place(up, cells(row.x, up))) * canvas.height,
      );
    }
    const x = Array.from(app.x),
      here = [
        place(across, cells(x, across)) * canvas.width,
        (1 - place(up, cells(x, up))) * canvas.height,
      ];
    for (const [width, colour] of [
      [9, "#fff"],
      [4, "#161922"],
    ]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(...here, 18, 0, 7);
      context.stroke();
    }
    canvas.ariaLabel = `what the network says over ${across.name} and ${up.name}`;
    const entries = network.classes
      ? network.classes
          .map((name, k) => [css(colourOfClass(k)), MARKS[k % MARKS.length], name])
          .slice(0, 12)
      : [
          [css(paper), "", shortly(low)],
          [css(accent), "", shortly(high)],
        ];
    this.swatches.replaceChildren(
      ...entries.map(([colour, mark, name]) => {
        const swatch = make("i", {}, mark);
        swatch.style.background = colour;
        return make("span", {}, swatch, name);
      }),
      make("span", {}, "◯ the row that is looked at"),
    );
  }
}

/** The answer as one feature moves: for this row, and on average. */
export class DependenceCard {
  constructor(app) {
    this.app = app;
    this.controls = make("div", { class: "choices" });
    this.plot = make("div");
    this.note = make("p", { class: "note" });
    this.element = make(
      "section",
      { class: "card", id: "dependence" },
      make("header", {}, make("h2", {}, "As one feature moves")),
      this.controls,
      this.plot,
      this.note,
    );
    this.mean = null;
  }

  async show() {
    const { app } = this,
      { state } = app,
      names = numbersOf(app);
    this.element.hidden = !names.length;
    if (!names.length) return;
    const feature = state.f ?? names[0][0],
      column = app.columns[feature];
    this.controls.replaceChildren(
      choice("Feature", names, feature, (value) => app.set({ f: Number(value) })),
    );
    this.mean = null;
    this.paint();
    if (!app.server || !column) return;
    try {
      this.mean = {
        feature,
        ...(await ask(`networks/${state.net}/dependence`, {
          feature: column.start,
          ...app.network.edits(),
        })),
      };
      this.note.textContent =
        "Solid: this row. Dashed: the mean over the rows held out, each with the feature set so (partial dependence).";
      this.paint();
    } catch (error) {
      this.note.textContent = error.message;
    }
  }

  paint() {
    const { app } = this,
      { network, state } = app,
      names = numbersOf(app);
    const column = app.columns[state.f ?? names[0]?.[0]];
    if (!column) return;
    const k = network.classes ? (state.why ?? app.answer) : 0,
      name = network.classes ? network.classes[k] : network.target;
    const pick = (out) =>
      network.classes && out.length === 1 ? (k ? out[0] : 1 - out[0]) : out[k];
    const row = Array.from(
      { length: POINTS },
      (_, i) => column.low + (i / (POINTS - 1)) * (column.high - column.low),
    );
    const lines = [
      {
        name: "this row",
        colour: "var(--accent)",
        points: row.map((value) => [
          value,
          network.shown(network.forward(withColumns(app, [[column, value]])).h.at(-1))[k],
        ]),
      },
    ];
    if (this.mean)
      lines.push({
        name: "mean",
        colour: "var(--soft)",
        dashed: true,
        points: this.mean.grid.map((value, i) => [
          column.decode([value, 0]),
          pick([this.mean.means[i]].flat()),
        ]),
      });
    const bounds = network.isProbable ? { low: 0, high: 1 } : {};
    this.plot.replaceChildren(
      lineChart(lines, {
        label: `${name} as ${column.name} moves`,
        mark:
          column.decode(Array.from(app.x).slice(column.start, column.start + column.width)) ??
          undefined,
        ...bounds,
      }),
      make(
        "p",
        { class: "note" },
        `${network.classes ? "probability of " : ""}${name}, as ${column.name} moves`,
      ),
    );
  }
}
