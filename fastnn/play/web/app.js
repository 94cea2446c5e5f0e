// The page: its state, which stands in the address, and what follows from it.
//
// The network runs here, in network.js, on the page of `fastnn play` as in the file of `fastnn
// page`: a stroke asks nobody. The server trains, and looks at whole data sets.

import { ask, byId, choice, make, onceAFrame, percent, plainly, shortly } from "./dom.js";
import { Network, columnsOf } from "./network.js";
import { Stage } from "./stage.js";
import { ChangeCard, NeuronCard, WhyCard } from "./look.js";
import { BoundaryCard, DependenceCard } from "./table.js";
import { PictureInput, TableInput } from "./inputs.js";
import { TrainPanel } from "./train.js";

const NUMBERS = ["why", "not", "row", "first", "wrong", "a", "b", "f", "compare"];
const TEXTS = ["view", "net", "part", "draw", "x", "neuron", "off", "w", "plana", "planb"];
const LIVE = 300_000; // weights of a network at most that is looked at while it is trained
const THEMES = { "": ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };

/** The colours that were chosen; a page in a frame may have nowhere to keep them. */
function remembered(name) {
  try {
    if (name !== undefined) sessionStorage.setItem("theme", name);
    return sessionStorage.getItem("theme");
  } catch {
    return null;
  }
}

class App {
  constructor() {
    this.inside = byId("inside") && JSON.parse(byId("inside").textContent);
    this.server = !this.inside;
    this.state = this.fromAddress();
    this.hovered = null;
    this.live = onceAFrame(() => this.refresh());
    this.later = this.lazily(() => this.paintCards(), 90);
    this.address = this.lazily(() => history.replaceState(null, "", `#${this.text()}`), 150);
    for (const element of document.querySelectorAll("[data-server]"))
      element.dataset.server === "" && this.inside && element.remove();
    this.theme(remembered() ?? "");
    byId("theme").addEventListener("click", () =>
      this.theme(
        { "": "light", light: "dark", dark: "" }[document.documentElement.dataset.theme ?? ""],
      ),
    );
    for (const button of document.querySelectorAll("#views button"))
      button.addEventListener("click", () => this.set({ view: button.dataset.view }));
    addEventListener("hashchange", () => this.attempt(() => this.follow()));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
  }

  lazily(work, wait) {
    let timer = null;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.attempt(work, false), wait);
    };
  }

  theme(name) {
    const [mark, text] = THEMES[name] ?? THEMES[""];
    if (name in THEMES && name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    remembered(name);
    byId("theme").textContent = mark;
    byId("theme").ariaLabel = `Colours: ${text}`;
    this.repaint();
  }

  repaint() {
    if (!this.network) return;
    this.input.board?.paint();
    this.refresh();
  }

  // ------------------------------------------------------------------------------ the address

  fromAddress() {
    const words = new URLSearchParams(location.hash.slice(1)),
      state = {};
    for (const name of TEXTS) state[name] = words.get(name);
    for (const name of NUMBERS)
      state[name] = /^\d{1,9}$/.test(words.get(name) ?? "") ? Number(words.get(name)) : null;
    if (!["look", "train"].includes(state.view) || this.inside) state.view = "look";
    if (!/^\d+\.\d+$/.test(state.neuron ?? "")) state.neuron = null;
    return state;
  }

  text() {
    const entries = Object.entries(this.state).filter(
      ([name, value]) => value !== null && value !== "" && !(name === "first" && value === 0),
    );
    return new URLSearchParams(entries).toString();
  }

  async follow() {
    if (location.hash.slice(1) === this.text()) return;
    this.state = this.fromAddress();
    await this.open();
  }

  /** Change the state; all that depends on it follows. */
  set(changes, quiet = false) {
    const before = { ...this.state };
    Object.assign(this.state, changes);
    this.address();
    if (quiet) return;
    this.attempt(async () => {
      if (this.state.net !== before.net) await this.open();
      if (this.state.view !== before.view) this.showView();
      if ("wrong" in changes) await this.input.picker.fetch();
      if ("neuron" in changes) this.neuron.show();
      if ("why" in changes || "not" in changes) this.why.show();
      if ("a" in changes || "b" in changes) await this.boundary.show();
      if ("f" in changes) await this.dependence.show();
      this.live();
    });
  }

  // ------------------------------------------------------------------------------ the network

  async start() {
    if (this.server) this.session = await ask("session");
    await this.open();
    this.showView();
  }

  /** Fetch the network that the state names, and build what belongs to it. */
  async open() {
    const { state } = this;
    if (this.server) {
      if (!(state.net in this.session.networks)) state.net = "model";
      this.network = new Network(await ask(`networks/${state.net}`));
    } else this.network = new Network(this.inside);
    document.title = `${this.network.title} · fastnn play`;
    this.build();
    this.applyEdits();
    await this.takeFromAddress();
    this.which();
  }

  build() {
    const { network } = this;
    this.columns = network.side
      ? []
      : columnsOf(network).map((column) => ({
          ...column,
          shown: (x) => {
            const value = column.decode(
              Array.from(x).slice(column.start, column.start + column.width),
            );
            return typeof value === "number" ? plainly(value) : (value ?? "missing");
          },
        }));
    this.names = network.side
      ? []
      : this.columns.flatMap((column) =>
          column.width === 1
            ? [column.name]
            : Array.from({ length: column.width }, (_, k) =>
                column.kind === "words"
                  ? `${column.name} is ${column.categories[k] ?? "missing"}`
                  : k
                    ? `${column.name} is missing`
                    : column.name,
              ),
        );
    this.baseline = network.side ? new Array(network.inputs).fill(0) : network.ranges.mean.slice();
    this.input = network.side
      ? new PictureInput(this, byId("input"))
      : new TableInput(this, byId("input"));
    this.stage ??= new Stage(byId("stage"), {
      neuron: (l, i) => this.set({ neuron: `${l}.${i}` }),
      answer: (k) => this.set({ why: this.state.why === k ? null : k }),
      hover: (k) => {
        this.hovered = k;
        this.later();
      },
    });
    this.stage.values = null;
    this.stage.show(network, this.names);
    this.why = new WhyCard(this);
    this.neuron = new NeuronCard(this);
    this.change = new ChangeCard(this);
    this.boundary = new BoundaryCard(this);
    this.dependence = new DependenceCard(this);
    const cards = [
      this.why,
      ...(network.classes ? [this.change] : []),
      ...(network.side ? [] : [this.boundary, this.dependence]),
      this.neuron,
    ];
    this.cards = cards;
    byId("cards").replaceChildren(...cards.map(({ element }) => element));
    const { neuron } = this.state,
      [l, i] = (neuron ?? "").split(".").map(Number);
    if (neuron && !(l < network.layers.length - 1 && i < network.layers[l].units))
      this.state.neuron = null;
  }

  /** The input that the address names: strokes, a row, the numbers of a table; or the first row. */
  async takeFromAddress() {
    const { state, network } = this;
    this.x = Array.from(this.baseline);
    if (network.side && state.draw) {
      this.input.board.text = state.draw;
      this.x = this.input.read();
    } else if (!network.side && state.x) this.takeText(state.x);
    else await this.takeRow(state.row ?? 0, state.part ?? "test");
    this.input.show(this.x, this.isDrawn || Boolean(state.draw));
    this.refresh();
    for (const one of this.cards) one.show();
    await this.input.picker.fetch();
  }

  takeText(text) {
    const parts = text.split("~");
    this.columns.forEach((column, k) => {
      const value =
        column.kind === "words"
          ? (column.categories.find((one) => String(one ?? "") === parts[k]) ?? null)
          : parts[k] === ""
            ? null
            : Number(parts[k]);
      if (column.kind === "words" || value === null || Number.isFinite(value))
        this.setColumn(column, value);
    });
    Object.assign(this.state, { x: text, row: null });
  }

  /** A row of the data, unless something else is looked at by the time that it comes. */
  async takeRow(index, part) {
    const before = this.x;
    const rows = this.server
      ? (
          await ask(
            `rows?${new URLSearchParams({ id: this.state.net, part, first: index, count: 1 })}`,
          )
        ).rows
      : this.network.rows.slice(index, index + 1);
    if (!rows.length || this.isDrawn || this.x !== before) return;
    this.x = rows[0].x;
    this.truth = rows[0].y;
    Object.assign(this.state, { row: rows[0].index, part, draw: null, x: null });
  }

  /** Look at a row of the data, or at an input that is none. */
  take(row, part) {
    this.x = row.x;
    this.truth = row.y;
    Object.assign(this.state, {
      row: row.index,
      draw: null,
      x: this.network.side ? null : this.columnsText(),
      ...(part ? { part } : {}),
    });
    if (row.index !== null) this.state.x = null;
    this.address();
    this.input.show(this.x, false);
    this.refresh();
  }

  columnsText() {
    const values = this.columns.map((column) =>
      column.decode(Array.from(this.x).slice(column.start, column.start + column.width)),
    );
    return values
      .map((value) => (typeof value === "number" ? Number(value.toPrecision(7)) : (value ?? "")))
      .join("~");
  }

  setColumn(column, value) {
    this.x = Array.from(this.x);
    column.encode(value).forEach((cell, k) => (this.x[column.start + k] = cell));
  }

  /** A slider has moved. */
  edited() {
    Object.assign(this.state, { row: null, x: this.columnsText() });
    this.truth = null;
    this.address();
    this.input.picker.mark();
    this.refresh();
  }

  /** The board has changed. stamp: when. */
  stroke(stamp) {
    this.stamp ??= stamp;
    this.isDrawn = true;
    this.truth = null;
    this.live();
  }

  // ------------------------------------------------------------------------------ what is seen

  refresh() {
    const { network, state, input } = this;
    if (this.isDrawn) {
      this.isDrawn = false;
      this.x = input.read();
      Object.assign(state, { draw: input.board.text, row: null, x: null });
      this.address();
      input.show(this.x, true);
    }
    this.values = network.forward(this.x);
    const out = network.shown(this.values.h.at(-1));
    this.answer = out.indexOf(Math.max(...out));
    this.stage.paint(this.values, this.x);
    this.stage.press(state.neuron, state.why);
    this.verdict(out);
    this.later();
    if (this.stamp !== undefined) {
      const start = this.stamp;
      this.stamp = undefined;
      setTimeout(() => this.measured(start)); // after the repaint
    }
  }

  /** How long a stroke took to be seen: for tests, and for whoever wonders. */
  measured(start) {
    if (performance.getEntriesByName("stroke").length > 500) performance.clearMeasures("stroke");
    performance.measure("stroke", { start, end: performance.now() });
  }

  verdict(out) {
    const { network, truth, state } = this,
      says = byId("verdict"),
      note = byId("runner-up");
    const isBlank = network.side && !this.x.some((value) => value > 0);
    if (isBlank) {
      says.textContent = "Draw something";
      note.textContent = "";
    } else if (network.classes) {
      const order = out.map((_, k) => k).sort((a, b) => out[b] - out[a]),
        [first, second] = order;
      says.replaceChildren(
        `It says ${network.classes[first]} `,
        make("small", {}, percent(out[first])),
      );
      const known =
        truth === null || truth === undefined
          ? ""
          : truth === first
            ? " · right"
            : ` · wrong: it is ${network.classes[truth] ?? truth}`;
      note.textContent = `then ${network.classes[second]}, ${percent(out[second])}${known}`;
    } else {
      says.textContent = out.length === 1 ? `${network.target}: ${shortly(out[0], 5)}` : "It says";
      note.textContent = truth === null || truth === undefined ? "" : `it is ${shortly(truth, 5)}`;
    }
    const changes = network.changed.size,
      silent = network.silenced.reduce((sum, set) => sum + set.size, 0);
    const words = [
      silent && `${silent} silenced`,
      changes && `${changes} weight${changes > 1 ? "s" : ""} changed`,
    ].filter(Boolean);
    const before = byId("edits").textContent,
      text = words.join(", ");
    if (before !== (text && `${text} undo`))
      byId("edits").replaceChildren(
        ...(text
          ? [
              `${text} `,
              make(
                "button",
                { type: "button", class: "link", id: "undo", onclick: () => this.restore() },
                "undo",
              ),
            ]
          : []),
      );
  }

  paintCards() {
    if (!this.values || this.state.view !== "look") return;
    this.stage.label();
    this.why.paint(this.hovered);
    this.neuron.paint();
    if (!this.network.side) {
      this.boundary.paint();
      this.dependence.paint();
    }
  }

  // ------------------------------------------------------------------------------ changes of it

  silence(l, i) {
    const set = this.network.silenced[l];
    if (!set.delete(i)) set.add(i);
    this.rememberEdits();
    this.live();
  }

  changeWeight(l, i, j, value) {
    this.network.change(l, i, j, value);
    this.rememberEdits();
    this.live();
  }

  restore() {
    this.network.restore();
    this.rememberEdits();
    this.neuron.show();
    this.live();
  }

  rememberEdits() {
    const { weights, silenced } = this.network.edits();
    this.state.off = silenced.map((one) => one.join(".")).join(",") || null;
    this.state.w =
      weights
        .slice(0, 50)
        .map(([l, i, j, value]) => [l, i, j, value.toPrecision(5)].join("_"))
        .join(",") || null;
    this.address();
  }

  applyEdits() {
    const { network, state } = this;
    for (const one of (state.off ?? "").split(",").filter(Boolean)) {
      const [l, i] = one.split(".").map(Number);
      if (l < network.layers.length - 1 && i < network.layers[l].units) network.silenced[l].add(i);
    }
    for (const one of (state.w ?? "").split(",").filter(Boolean)) {
      const [l, i, j, value] = one.split("_").map(Number),
        layer = network.layers[l];
      if (layer && i < layer.inputs && j < layer.units && Number.isFinite(value))
        network.change(l, i, j, value);
    }
  }

  // ------------------------------------------------------------------------------ around it

  showView() {
    const { view } = this.state;
    byId("look").hidden = view !== "look";
    if (byId("train")) byId("train").hidden = view !== "train";
    for (const button of document.querySelectorAll("#views button"))
      button.dataset.view === view
        ? button.setAttribute("aria-current", "page")
        : button.removeAttribute("aria-current");
    if (this.server && (view === "train" || this.session.networks.a))
      this.panel ??= new TrainPanel(this, byId("train"));
    if (view === "look") this.stage.lay();
    this.live();
  }

  which() {
    const { state, network } = this;
    const title = network.title.replace(/\.fastnn$/, "");
    const about = `${title} · ${network.parameters.toLocaleString("en")} parameters`;
    if (this.server) {
      const names = Object.entries(this.session.networks).map(([key, { title }]) => [
        key,
        key === "model" ? title : `${key.toUpperCase()}: ${title}`,
      ]);
      byId("which").replaceChildren(
        choice("Network", names, state.net, (net) =>
          this.set({ net, neuron: null, off: null, w: null }),
        ),
      );
      byId("save-network").href = `/api/networks/${state.net}/file`;
      byId("save-page").href = `/api/networks/${state.net}/page`;
      byId("about").textContent = `${about} · data: ${this.session.data}`;
    } else {
      byId("which").replaceChildren(make("span", { class: "note" }, network.title));
      const words = [about, "made by fastnn page", network.credit].filter(Boolean);
      byId("about").textContent = words.join(" · ");
    }
  }

  /** A training has begun. */
  hasTrained(slot) {
    this.attempt(async () => {
      this.session = await ask("session");
      if (this.state.net === slot) await this.open();
      this.which();
    });
  }

  /** A training has come on: the network that is looked at follows, if it is one of these. */
  async learned(slots) {
    const { state, network } = this;
    if (state.view !== "look" || !slots.includes(state.net) || network.parameters > LIVE) return;
    const found = new Network(await ask(`networks/${state.net}`));
    if (found.layers.length !== network.layers.length) return;
    found.layers.forEach((layer, l) =>
      Object.assign(network.layers[l], { weights: layer.weights, biases: layer.biases }),
    );
    network.changed.clear();
    Object.assign(network, {
      center: found.center,
      factor: found.factor,
      outputCenter: found.outputCenter,
      outputScale: found.outputScale,
    });
    this.live();
  }

  say(text) {
    byId("message").hidden = !text;
    byId("message").textContent = text;
  }

  /** Do it; what goes wrong is said. */
  async attempt(work, clear = true) {
    try {
      if (clear) this.say("");
      await work();
    } catch (error) {
      this.say(error.message);
    }
  }
}

const app = new App();
window.fastnn = app; // for consoles and tests
app.attempt(() => app.start());
