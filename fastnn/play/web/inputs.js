// Where the input comes from: the drawing board and pictures, or sliders and rows of a table.

import { ask, byId, choice, make, onceAFrame, plainly } from "./dom.js";
import { Board } from "./board.js";
import { centred } from "./digit.js";
import { paintInk, pixels } from "./charts.js";

const PAGE = { pictures: 20, rows: 12 };

/** Rows of the data, a page at a time: held-out ones apart from those to learn from. */
class Picker {
  constructor(app, size, draw) {
    Object.assign(this, { app, size, draw, first: 0, total: 0 });
    this.list = make("div", { class: "list" });
    this.count = make("span", { class: "note number" });
    const turn = (by) => () => this.turn(by);
    this.before = make(
      "button",
      { type: "button", class: "button", "aria-label": "rows before", onclick: turn(-1) },
      "←",
    );
    this.after = make(
      "button",
      { type: "button", class: "button", "aria-label": "rows after", onclick: turn(1) },
      "→",
    );
    this.parts = make("div", { class: "switch", role: "group", "aria-label": "which rows" });
    this.wrong = make("input", {
      type: "checkbox",
      id: "wrong",
      onchange: () => this.app.set({ wrong: this.wrong.checked ? 1 : null, first: 0 }),
    });
    const filter =
      app.server && app.network.classes
        ? make("label", { class: "note" }, this.wrong, " mistakes only")
        : null;
    this.element = make(
      "div",
      {},
      this.parts,
      this.list,
      make("div", { class: "row" }, this.before, this.count, this.after, filter),
    );
  }

  turn(by) {
    this.app.set({ first: Math.max(0, (this.app.state.first ?? 0) + by * this.size) });
    this.fetch();
  }

  async fetch() {
    const { app } = this,
      { state } = app;
    const names = app.server ? { test: "Held out", learn: "Learned from" } : {};
    this.parts.replaceChildren(
      ...Object.entries(names).map(([part, text]) =>
        make(
          "button",
          {
            type: "button",
            "aria-pressed": String(part === (state.part ?? "test")),
            onclick: () => {
              app.set({ part, first: 0 });
              this.fetch();
            },
          },
          text,
        ),
      ),
    );
    this.parts.hidden = !app.server;
    this.wrong.checked = Boolean(state.wrong);
    this.first = state.first ?? 0;
    const query = {
      part: state.part ?? "test",
      first: this.first,
      count: this.size,
      ...(state.wrong ? { wrong: 1, id: state.net } : {}),
    };
    const found = app.server
      ? await ask(`rows?${new URLSearchParams({ id: state.net, ...query })}`)
      : {
          total: app.network.rows.length,
          rows: app.network.rows.slice(this.first, this.first + this.size),
        };
    this.total = found.total;
    this.rows = found.rows;
    this.before.disabled = this.first === 0;
    this.after.disabled = this.first + this.size >= this.total;
    this.count.textContent = this.total
      ? `${this.first + 1}–${Math.min(this.first + this.size, this.total)} of ${this.total}`
      : "none";
    byId("pick").hidden = !app.server && !this.total;
    this.list.replaceChildren(this.draw(found.rows));
    this.mark();
  }

  /** Which of them is looked at. */
  mark() {
    const { state } = this.app;
    for (const one of this.list.querySelectorAll("[data-row]"))
      one.ariaPressed = String(one.dataset.row === String(state.row));
  }
}

/** The board, what the network sees, and pictures to pick. */
export class PictureInput {
  constructor(app, box) {
    this.app = app;
    const { side } = app.network;
    const canvas = make("canvas", {
      class: "board",
      tabIndex: 0,
      role: "img",
      "aria-label":
        "drawing board: draw with mouse or finger; with the keys, space puts the pen down or up, arrows move it, delete clears",
    });
    this.hint = make("div", { class: "hint", "aria-hidden": "true" }, "draw a digit here");
    this.board = new Board(canvas, (stamp) => this.drawn(stamp));
    this.sees = pixels("what the network sees");
    this.picker = new Picker(app, PAGE.pictures, (rows) => this.tiles(rows));
    const clear = make(
      "button",
      { type: "button", class: "button", id: "clear", onclick: () => this.board.clear() },
      "Clear",
    );
    box.replaceChildren(
      make("header", {}, make("h2", {}, "Draw"), clear),
      make("div", { class: "board-wrap" }, canvas, this.hint),
      make(
        "div",
        { class: "sees" },
        this.sees,
        make(
          "p",
          { class: "note" },
          `What the network sees: ${side} × ${side} pixels, centred and scaled as MNIST’s digits are.`,
        ),
      ),
    );
    byId("pick").replaceChildren(
      make("header", {}, make("h2", {}, "Or pick one")),
      this.picker.element,
    );
    this.blank = () => new Array(side * side).fill(0);
  }

  tiles(rows) {
    const { network } = this.app;
    return make(
      "div",
      { class: "tiles" },
      ...rows.map((row) => {
        const canvas = pixels(""),
          wrong = row.said !== null && row.said !== row.y,
          name = network.classes?.[row.y] ?? row.y;
        canvas.removeAttribute("role");
        canvas.removeAttribute("aria-label");
        paintInk(canvas, row.x, network.side, network.top);
        const badge = wrong
          ? make(
              "span",
              { class: "badge", "aria-hidden": "true" },
              String(network.classes?.[row.said] ?? row.said),
            )
          : null;
        const label = `row ${row.index}: a ${name}${wrong ? `, taken for ${network.classes?.[row.said] ?? row.said}` : ""}`;
        return make(
          "button",
          {
            type: "button",
            class: "tile",
            title: label,
            "aria-label": label,
            "data-row": row.index,
            "aria-pressed": "false",
            onclick: () => this.app.take(row, this.app.state.part ?? "test"),
          },
          canvas,
          badge,
        );
      }),
    );
  }

  drawn(stamp) {
    this.board.paint();
    this.hint.hidden = this.board.strokes.length > 0;
    this.app.stroke(stamp);
  }

  /** The strokes as the network reads them. */
  read() {
    const { network } = this.app,
      { ink, side } = this.board.ink();
    return Array.from(
      centred(ink, side, side, network.side),
      (value) => (value / 255) * network.top,
    );
  }

  /** What is looked at now, when it did not come from the board. */
  show(x, isDrawn) {
    paintInk(this.sees, x, this.app.network.side, this.app.network.top);
    if (!isDrawn) this.board.drop();
    this.hint.hidden = this.board.strokes.length > 0;
    this.board.paint();
    this.picker.mark();
  }
}

/** A slider or a choice for each column of a table, and rows to pick. */
export class TableInput {
  constructor(app, box) {
    this.app = app;
    this.sliders = make("div", {
      class: "sliders",
      tabIndex: 0,
      role: "region",
      "aria-label": "features",
    });
    this.picker = new Picker(app, PAGE.rows, (rows) => this.list(rows));
    const mean = make(
      "button",
      {
        type: "button",
        class: "button",
        onclick: () => app.take({ x: Array.from(app.baseline), y: null, index: null }, null),
      },
      "Mean row",
    );
    box.replaceChildren(make("header", {}, make("h2", {}, "Set each feature"), mean), this.sliders);
    byId("pick").replaceChildren(
      make("header", {}, make("h2", {}, "Or pick a row")),
      this.picker.element,
    );
    this.changed = onceAFrame(() => app.edited());
    this.build();
  }

  build() {
    this.fields = this.app.columns.map((column) =>
      column.kind === "words" ? this.words(column) : this.slider(column),
    );
    this.sliders.replaceChildren(...this.fields.map(({ element }) => element));
  }

  slider(column) {
    const output = make("output"),
      span = column.high - column.low || 1;
    const step = column.whole ? 1 : 10 ** Math.floor(Math.log10(span / 200));
    const input = make("input", {
      type: "range",
      min: column.low,
      max: column.high,
      step: column.whole ? 1 : "any",
    });
    const show = (value) => {
      output.textContent = value === null ? "missing" : plainly(value);
      input.style.setProperty("--at", `${(100 * ((value ?? column.mean) - column.low)) / span}%`);
    };
    input.addEventListener("input", () => {
      const value = column.whole
        ? Number(input.value)
        : Math.round(Number(input.value) / step) * step;
      show(value);
      this.app.setColumn(column, value);
      this.changed();
    });
    const element = make("label", { class: "field" }, make("span", {}, column.name, output), input);
    return {
      element,
      set: (value) => {
        input.value = value ?? column.mean;
        show(value);
      },
    };
  }

  words(column) {
    const names = column.categories.map((category, k) => [k, category ?? "(missing)"]);
    const element = choice(column.name, names, 0, (k) => {
      this.app.setColumn(column, column.categories[k]);
      this.changed();
    });
    return {
      element,
      set: (value) => {
        element.querySelector("select").value = column.categories.indexOf(value);
      },
    };
  }

  list(rows) {
    const { network } = this.app;
    const say = (value) => (network.classes ? network.classes[value] : plainly(value));
    return make(
      "div",
      { class: "tiles rows" },
      ...rows.map((row) => {
        const wrong = row.said !== null && row.said !== row.y;
        const label = `row ${row.index}: ${say(row.y)}${wrong ? `, taken for ${say(row.said)}` : ""}`;
        return make(
          "button",
          {
            type: "button",
            class: "tile text",
            "data-row": row.index,
            "aria-pressed": "false",
            title: label,
            onclick: () => this.app.take(row, this.app.state.part ?? "test"),
          },
          make("b", {}, String(row.index)),
          ` ${say(row.y)}${wrong ? ` ✗ ${say(row.said)}` : ""}`,
        );
      }),
    );
  }

  show(x) {
    this.app.columns.forEach((column, k) =>
      this.fields[k].set(column.decode(x.slice(column.start, column.start + column.width))),
    );
    this.picker.mark();
  }
}
