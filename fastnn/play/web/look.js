// The cards below the network: why, the neuron, the smallest change, the table's pictures.

import { ask, byId, choice, clamp, make, percent, shortly, signed } from "./dom.js";
import { smallestChange } from "./change.js";
import { paintInk, paintSigned, pixels, plainBars, signedBars } from "./charts.js";

const TERMS = 10; // of a sum that are written out
const STEPS = 24; // of integrated gradients,
const HEAVY = 400_000; // and one alone for networks of more weights

const card = (title, ...children) =>
  make("section", { class: "card" }, make("header", {}, make("h2", {}, title)), ...children);
const nameOf = (network, k) =>
  network.classes?.[k] ?? (network.outputs === 1 ? network.target : `output ${k}`);

/** "Why": what speaks for an answer, and against it or for another one. */
export class WhyCard {
  constructor(app) {
    this.app = app;
    this.controls = make("div", { class: "choices" });
    this.body = make("div", { class: "explain" });
    this.map = pixels("");
    this.balance = make("div", { class: "balance" });
    this.hint = make("p", { class: "note" });
    this.element = card("Why?", this.controls, this.body);
    this.element.id = "why";
  }

  show() {
    const { network, state } = this.app;
    const names = Array.from(
      { length: network.classes ? Math.max(network.outputs, 2) : network.outputs },
      (_, k) => [k, nameOf(network, k)],
    );
    const fields = [];
    if (names.length > 1) {
      fields.push(
        choice("Why", [["", "its answer"], ...names], state.why ?? "", (value) =>
          this.app.set({ why: value === "" ? null : Number(value) }),
        ),
      );
      if (network.outputs > 1)
        fields.push(
          choice("and not", [["", "–"], ...names], state.not ?? "", (value) =>
            this.app.set({ not: value === "" ? null : Number(value) }),
          ),
        );
    }
    this.controls.replaceChildren(...fields);
    if (network.side)
      this.body.replaceChildren(
        make("div", {}, this.map),
        make("div", {}, this.hint, this.balance),
      );
    else this.body.replaceChildren(make("div", { class: "wide" }, this.hint), this.balance);
    this.body.style.gridTemplateColumns = network.side ? "" : "1fr";
  }

  paint(hovered) {
    const { network, x, values, answer, state } = this.app;
    const target = hovered ?? state.why ?? answer,
      against = state.not === target ? null : state.not;
    const steps = network.parameters > HEAVY ? 1 : STEPS;
    const baseline = Array.from(this.app.baseline);
    const unit = network.classes ? 1 : network.outputScale,
      offset = (!network.classes && network.outputCenter?.[target]) || 0;
    const parts = network.attribute(x, target, against, baseline, steps).map((part) => part * unit);
    const seed = network.seed(target, against);
    const sum = (z) => z.reduce((total, value, k) => total + seed[k] * value, 0) * unit + offset;
    const now = sum(values.z.at(-1)),
      before = sum(network.forward(baseline).z.at(-1));
    const plus = parts.reduce((total, value) => total + Math.max(value, 0), 0),
      minus = parts.reduce((total, value) => total + Math.min(value, 0), 0);
    const than = against === null ? "" : ` and not ${nameOf(network, against)}`,
      name = nameOf(network, target);
    const empty = network.side ? "empty paper" : "the mean row";
    this.hint.textContent = network.side
      ? `Red pixels speak for ${name}${than}, blue ones against.`
      : `What each feature adds, beside the mean row, to the sum behind ${name}${than}.`;
    if (network.side) {
      paintSigned(this.map, parts, network.side, 0, x, network.top);
      this.map.ariaLabel = `pixels for and against ${name}${than}`;
    }
    const row = (text, value, kind) =>
      make(
        "div",
        { class: kind },
        make("span", {}, text),
        make("span", { class: "number" }, signed(value)),
      );
    const lines = [
      row(`with ${empty}`, before, ""),
      row("+ for", plus, "for-text"),
      row("− against", minus, "against-text"),
      row(`sum for ${name}${than}`, now, "total"),
    ];
    const bars = network.side
      ? []
      : [
          signedBars(
            this.app.columns
              .map((column) => [
                `${column.name} = ${column.shown(x)}`,
                parts.slice(column.start, column.start + column.width).reduce((a, b) => a + b, 0),
              ])
              .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))
              .slice(0, 16),
          ),
        ];
    this.balance.replaceChildren(...bars, ...lines);
  }
}

/** One neuron: what it looks for, the sum inside it, what excites it; silence it, change a weight. */
export class NeuronCard {
  constructor(app) {
    this.app = app;
    this.element = card("A neuron");
    this.element.id = "neuron";
    this.title = this.element.querySelector("h2");
    this.body = make("div");
    this.more = make("div");
    this.element.append(this.body);
  }

  get place() {
    return this.app.state.neuron?.split(".").map(Number) ?? null;
  }

  show() {
    this.more.replaceChildren();
    const { network } = this.app;
    if (!this.place) {
      this.title.textContent = "A neuron";
      this.element.classList.remove("wide");
      const layers = network.layers.length > 1;
      this.body.replaceChildren(
        make(
          "p",
          { class: "note" },
          layers
            ? "Choose a circle in the picture to see what it looks for and the sum inside it."
            : "This network has no hidden neurons.",
        ),
        ...(layers ? [this.chooser()] : []),
      );
      return;
    }
    const [l, i] = this.place,
      layer = network.layers[l];
    this.title.textContent = `Layer ${l + 1}, neuron ${i}`;
    this.map = network.side && l === 0 ? pixels(`weights of neuron ${i}`) : null;
    this.terms = make("tbody");
    this.says = make("p", { class: "note" });
    this.weight = make("div", { class: "block" });
    this.silence = make("button", {
      type: "button",
      class: "button",
      id: "silence",
      onclick: () => this.app.silence(l, i),
    });
    const table = make(
      "div",
      { class: "scroll", tabIndex: 0, role: "region", "aria-label": "the sum inside the neuron" },
      make(
        "table",
        { class: "terms" },
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            ...[
              l ? "from neuron" : network.side ? "row, column" : "input",
              "value",
              "weight",
              "product",
            ].map((text) => make("th", { scope: "col" }, text)),
          ),
        ),
        this.terms,
      ),
    );
    const left = make(
      "div",
      {},
      ...(this.map
        ? [
            make("h3", {}, "What it looks for"),
            this.map,
            make("p", { class: "note" }, "red: ink excites it; blue: ink calms it"),
          ]
        : []),
      this.says,
      make("div", { class: "row block" }, this.silence),
    );
    this.body.replaceChildren(
      this.chooser(),
      make(
        "div",
        { class: "inside" },
        left,
        make("div", {}, make("h3", {}, "The sum inside it"), table, this.weight),
        this.more,
      ),
    );
    this.element.classList.add("wide");
    this.chosen = null;
    this.fetch();
  }

  chooser() {
    const { network, state } = this.app,
      [l, i] = this.place ?? [0, ""];
    const layers = network.layers.slice(0, -1).map((_, k) => [k, `${k + 1}`]);
    const most = network.layers[l].units - 1;
    const index = make("input", {
      type: "number",
      min: 0,
      max: most,
      value: i,
      onchange: () =>
        this.app.set({ neuron: `${l}.${clamp(Math.round(Number(index.value) || 0), 0, most)}` }),
    });
    return make(
      "div",
      { class: "choices" },
      choice("Layer", layers, l, (value) => this.app.set({ neuron: `${value}.0` })),
      make("label", { class: "field" }, make("span", {}, `Neuron, 0 to ${most}`), index),
    );
  }

  paint() {
    if (!this.place) return;
    const { network, values } = this.app,
      [l, i] = this.place,
      layer = network.layers[l];
    const x = values.h[l],
      z = values.z[l + 1][i],
      h = values.h[l + 1][i],
      silent = network.silenced[l].has(i);
    if (this.map)
      paintSigned(
        this.map,
        Array.from({ length: layer.inputs }, (_, k) => network.weight(l, k, i)),
        network.side,
      );
    const parts = Array.from(x, (value, k) => [
      k,
      value,
      network.weight(l, k, i),
      value * network.weight(l, k, i),
    ]);
    const order = parts
      .filter(([, , , part]) => part !== 0)
      .sort((a, b) => Math.abs(b[3]) - Math.abs(a[3]));
    const shown = order.slice(0, TERMS),
      rest = order.slice(TERMS).reduce((total, one) => total + one[3], 0);
    const name = (k) =>
      l
        ? `${k}`
        : network.side
          ? `${Math.floor(k / network.side)}, ${k % network.side}`
          : this.app.names[k];
    const cells = (...texts) => texts.map((text) => make("td", {}, text));
    const pick = (k) =>
      make(
        "td",
        {},
        make(
          "button",
          {
            type: "button",
            class: "link",
            title: "change this weight",
            onclick: () => this.pick(k),
          },
          name(k),
        ),
      );
    this.terms.replaceChildren(
      ...shown.map(([k, value, weight, part]) =>
        make("tr", {}, pick(k), ...cells(shortly(value), shortly(weight), signed(part))),
      ),
      ...(order.length > TERMS
        ? [make("tr", {}, ...cells(`${order.length - TERMS} more`, "", "", signed(rest)))]
        : []),
      make("tr", {}, ...cells("bias", "", "", signed(layer.biases[i]))),
      make("tr", { class: "sum" }, ...cells("sum z", "", "", signed(z))),
      make(
        "tr",
        { class: "sum" },
        ...cells(`${layer.activation}(z)`, "", "", silent ? "silenced: 0" : shortly(h)),
      ),
    );
    this.says.textContent = silent
      ? "It is silenced: it gives 0, whatever it sees."
      : `It gives ${shortly(h)} now.`;
    this.silence.textContent = silent ? "Wake it" : "Silence it";
    if (this.chosen === null && order.length) this.pick(order[0][0]);
  }

  /** One weight on a slider. */
  pick(k) {
    const { network } = this.app,
      [l, i] = this.place,
      now = network.weight(l, k, i);
    this.chosen = k;
    const reach = Math.max(4 * Math.abs(now), 2),
      output = make("output", {}, shortly(now));
    const slider = make("input", {
      type: "range",
      min: -reach,
      max: reach,
      step: reach / 200,
      value: now,
      id: "weight",
    });
    const name = l
      ? `neuron ${k}`
      : network.side
        ? `row ${Math.floor(k / network.side)}, column ${k % network.side}`
        : this.app.names[k];
    const fill = () =>
      slider.style.setProperty("--at", `${(50 * (Number(slider.value) + reach)) / reach}%`);
    slider.addEventListener("input", () => {
      output.textContent = shortly(Number(slider.value));
      fill();
      this.app.changeWeight(l, k, i, Number(slider.value));
    });
    fill();
    this.weight.replaceChildren(
      make("label", { class: "field" }, make("span", {}, `Weight from ${name}`, output), slider),
    );
  }

  /** What the rows of the data say of it. */
  async fetch() {
    if (!this.app.server) return;
    const at = this.app.state.neuron,
      { network } = this.app,
      [layer, index] = this.place;
    try {
      const found = await ask(`networks/${this.app.state.net}/neuron`, {
        layer,
        index,
        ...network.edits(),
      });
      if (at !== this.app.state.neuron) return;
      const best = network.side ? pixels("the input that would excite it most") : null;
      if (best) paintInk(best, found.preferred, network.side, network.top);
      const { accuracy, loss } = found.with,
        { without } = found;
      const worth =
        accuracy === undefined
          ? `${shortly(loss)} becomes ${shortly(without.loss)} (loss)`
          : `${percent(accuracy)} becomes ${percent(without.accuracy)} (accuracy)`;
      const parts = [
        ["Without it, on the rows held out", make("p", {}, worth)],
        found.means && [
          "Its mean activation, class by class",
          plainBars(found.means.map((mean, k) => [network.classes[k], mean])),
          make(
            "p",
            { class: "note" },
            `${percent(found.selectivity)} of its variance lies between classes`,
          ),
        ],
        ["What excites it most, of the rows to learn from", this.examples(found)],
        best && ["The input that would excite it most", make("div", { class: "small" }, best)],
      ];
      this.more.replaceChildren(
        ...parts
          .filter(Boolean)
          .map(([title, ...children]) =>
            make("div", { class: "block" }, make("h3", {}, title), ...children),
          ),
      );
    } catch (error) {
      this.more.replaceChildren(make("p", { class: "note" }, error.message));
    }
  }

  examples({ examples, h }) {
    const { network } = this.app;
    if (network.side) {
      return make(
        "div",
        { class: "tiles" },
        ...examples.map((row, k) => {
          const canvas = pixels(`an example: ${row.y}, activation ${shortly(h[k])}`);
          paintInk(canvas, row.x, network.side, network.top);
          return make(
            "button",
            {
              type: "button",
              class: "tile",
              title: `${network.classes?.[row.y] ?? row.y}: ${shortly(h[k])}`,
              onclick: () => this.app.take(row, "learn"),
            },
            canvas,
          );
        }),
      );
    }
    return plainBars(
      examples.map((row, k) => [
        `row ${row.index}: ${network.classes?.[row.y] ?? shortly(row.y)}`,
        h[k],
      ]),
    );
  }
}

/** The smallest change of the input that changes the answer. */
export class ChangeCard {
  constructor(app) {
    this.app = app;
    this.controls = make("div", { class: "row ends" });
    this.result = make("div", { class: "block", "aria-live": "polite" });
    this.element = card(
      "What would change the answer?",
      make(
        "p",
        { class: "note" },
        "The smallest change of the input that makes the network say something else.",
      ),
      this.controls,
      this.result,
    );
    this.controls.style.marginTop = "12px";
    this.element.id = "change";
  }

  show() {
    const { network } = this.app;
    const names = (network.classes ?? []).map((name, k) => [k, name]);
    this.target ??= "";
    const select = choice(
      "Make it say",
      [["", "the runner-up"], ...names],
      this.target,
      (value) => (this.target = value),
    );
    this.kept ??= new Set(this.app.columns.filter(({ kind }) => kind === "words"));
    const keep = this.app.columns.map((column) =>
      make(
        "label",
        { class: "check" },
        make("input", {
          type: "checkbox",
          checked: this.kept.has(column),
          disabled: column.kind === "words",
          onchange: (event) =>
            event.target.checked ? this.kept.add(column) : this.kept.delete(column),
        }),
        ` ${column.name}`,
      ),
    );
    this.controls.replaceChildren(
      ...(keep.length ? [make("fieldset", {}, make("legend", {}, "Leave as it is"), ...keep)] : []),
      select,
      make(
        "button",
        { type: "button", class: "button main", id: "find-change", onclick: () => this.find() },
        "Find it",
      ),
    );
    this.result.replaceChildren();
  }

  /** The inputs that stay: those of columns that are kept, and whether something is missing. */
  frozen() {
    return this.app.columns.flatMap((column) =>
      Array.from({ length: column.width }, (_, k) => column.start + k).slice(
        this.kept.has(column) ? 0 : 1,
      ),
    );
  }

  async find() {
    const { app } = this,
      { network, x } = app,
      out = network.shown(app.values.h.at(-1));
    const order = out.map((_, k) => k).sort((a, b) => out[b] - out[a]);
    const target = this.target === "" ? order[1] : Number(this.target);
    if (target === order[0])
      return this.result.replaceChildren(
        make("p", { class: "note" }, `It says ${network.classes[target]} already.`),
      );
    const button = byId("find-change");
    button.disabled = true;
    try {
      this.paint(Array.from(x), await smallestChange(network, x, target, this.frozen()));
    } catch (error) {
      this.result.replaceChildren(make("p", { class: "note" }, error.message));
    } finally {
      button.disabled = false;
    }
  }

  paint(before, after) {
    const { network } = this.app,
      out = network.shown(network.forward(after).h.at(-1)),
      best = out.indexOf(Math.max(...out));
    const difference = after.map((value, i) => value - before[i]);
    const says = make(
      "p",
      {},
      "Then it says ",
      make("strong", {}, network.classes[best]),
      ` (${percent(out[best])}).`,
    );
    const use = make(
      "button",
      {
        type: "button",
        class: "button",
        id: "use-change",
        onclick: () => this.app.take({ x: after, y: null, index: null }, null),
      },
      "Look at it",
    );
    if (network.side) {
      const parts = [
        ["now", (c) => paintInk(c, before, network.side, network.top)],
        ["changed", (c) => paintInk(c, after, network.side, network.top)],
        ["the change", (c) => paintSigned(c, difference, network.side)],
      ];
      this.result.replaceChildren(
        says,
        make(
          "div",
          { class: "three" },
          ...parts.map(([name, paint]) => {
            const canvas = pixels(name);
            paint(canvas);
            return make("figure", {}, canvas, make("figcaption", {}, name));
          }),
        ),
        use,
      );
    } else {
      const changed = this.app.columns.filter((column) =>
        Array.from({ length: column.width }, (_, k) => difference[column.start + k]).some(
          (d) => Math.abs(d) > 1e-9,
        ),
      );
      this.result.replaceChildren(
        says,
        make(
          "table",
          { class: "terms" },
          make(
            "tbody",
            {},
            ...changed.map((column) =>
              make(
                "tr",
                {},
                ...[column.name, column.shown(before), "→", column.shown(after)].map((text) =>
                  make("td", {}, text),
                ),
              ),
            ),
          ),
        ),
        use,
      );
    }
  }
}
