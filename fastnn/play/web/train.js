// Training: what to train, the knobs while it runs, and what can be watched.

import { ask, bytesOf, choice, clamp, make, percent, shortly } from "./dom.js";
import { lineChart, paintSigned, pixels } from "./charts.js";

const WAIT = 160; // ms between two looks
const COLOURS = { a: "var(--accent)", b: "light-dark(#9a4a00, #ffb45e)" };
const ACTIVE = ["running", "paused"];

/** One network to be trained: the choices, the buttons, the curves so far. */
class Plan {
  constructor(panel, slot) {
    Object.assign(this, { panel, slot, points: [], state: "", progress: null });
    const { app } = panel,
      { session } = app;
    this.choices = {
      hidden: slot === "a" ? [16, 16] : [64],
      activation: slot === "a" ? "sigmoid" : "relu",
      optimizer: "adam",
      rate: session.optimizers.adam,
      epochs: 10,
      batch: 64,
      slow: true,
      ...this.fromAddress(),
    };
    if (!session.data.includes("digit") && app.network.side === 0)
      this.choices = {
        ...this.choices,
        activation: "tanh",
        epochs: 60,
        batch: 16,
        ...this.fromAddress(),
      };
    this.element = make("div", { class: "card", "data-plan": slot });
    this.build();
  }

  fromAddress() {
    const text = this.panel.app.state[`plan${this.slot}`];
    if (!text) return {};
    const [hidden, activation, optimizer, rate, epochs, batch] = text.split("~");
    const { session } = this.panel.app;
    const sizes = hidden
      ? hidden
          .split(",")
          .map((size) => clamp(Math.round(Number(size)) || 1, 1, session.most.units))
          .slice(0, session.most.layers)
      : [];
    const fine =
      session.activations.includes(activation) &&
      optimizer in session.optimizers &&
      Number(rate) > 0;
    return fine
      ? {
          hidden: sizes,
          activation,
          optimizer,
          rate: Number(rate),
          epochs: Number(epochs) || 10,
          batch: Number(batch) || 64,
        }
      : {};
  }

  remember() {
    const { hidden, activation, optimizer, rate, epochs, batch } = this.choices;
    this.panel.app.set(
      {
        [`plan${this.slot}`]: [hidden.join(","), activation, optimizer, rate, epochs, batch].join(
          "~",
        ),
      },
      true,
    );
  }

  take(changes) {
    Object.assign(this.choices, changes);
    this.remember();
  }

  build() {
    const { session } = this.panel.app,
      { choices, slot } = this;
    this.layers = make("div", { class: "layers" });
    this.layerRows();
    this.rate = make("input", {
      type: "range",
      min: -4,
      max: 0.5,
      step: 0.02,
      "data-role": "rate",
      "aria-label": "learning rate",
    });
    this.rateShown = make("output");
    this.rate.addEventListener("input", () => this.setRate(10 ** Number(this.rate.value), true));
    const number = (label, key, most) => {
      const input = make("input", {
        type: "number",
        min: 1,
        max: most,
        value: choices[key],
        onchange: () => {
          input.value = clamp(Math.round(Number(input.value) || 1), 1, most);
          this.take({ [key]: Number(input.value) });
        },
      });
      return make("label", { class: "field" }, make("span", {}, label), input);
    };
    this.start = make(
      "button",
      {
        type: "button",
        class: "button main",
        "data-role": "start",
        onclick: () => this.train(false),
      },
      "Train",
    );
    this.pause = make(
      "button",
      {
        type: "button",
        class: "button",
        "data-role": "pause",
        onclick: () => this.control({ paused: this.state !== "paused" }),
      },
      "Pause",
    );
    this.stop = make(
      "button",
      {
        type: "button",
        class: "button",
        "data-role": "stop",
        onclick: () => this.control({ stop: true }),
      },
      "Stop",
    );
    this.further = make(
      "button",
      { type: "button", class: "button", "data-role": "further", onclick: () => this.train(true) },
      "Train further",
    );
    this.look = make(
      "button",
      {
        type: "button",
        class: "button",
        "data-role": "look",
        onclick: () => this.panel.app.set({ net: slot, view: "look" }),
      },
      "Look inside",
    );
    const slow = make("input", {
      type: "checkbox",
      checked: choices.slow,
      onchange: () => {
        this.take({ slow: slow.checked });
        this.control({ slow: slow.checked });
      },
    });
    this.status = make("span", { class: "state", role: "status" });
    this.element.replaceChildren(
      make(
        "header",
        {},
        make("h2", {}, make("span", { class: `badge-${slot}` }, slot.toUpperCase()), "Network"),
        this.status,
      ),
      make("h3", {}, "Hidden layers"),
      this.layers,
      make(
        "div",
        { class: "fields" },
        choice("Activation", session.activations, choices.activation, (activation) =>
          this.take({ activation }),
        ),
        choice("Optimizer", Object.keys(session.optimizers), choices.optimizer, (optimizer) => {
          this.take({ optimizer });
          this.setRate(session.optimizers[optimizer], true);
        }),
        number("Epochs", "epochs", session.most.epochs),
        number("Batch", "batch", 4096),
      ),
      make(
        "label",
        { class: "field" },
        make("span", {}, "Learning rate", this.rateShown),
        this.rate,
      ),
      make("label", { class: "note" }, slow, " slowly enough to watch"),
      make("div", { class: "row" }, this.start, this.pause, this.stop, this.further, this.look),
    );
    this.element.querySelector(".row:last-child").style.marginTop = "14px";
    this.setRate(choices.rate, false);
    this.buttons();
  }

  layerRows() {
    const { hidden } = this.choices,
      { most } = this.panel.app.session;
    const changed = () => {
      this.remember();
      this.layerRows();
    };
    const rows = hidden.map((size, k) => {
      const input = make("input", {
        type: "number",
        min: 1,
        max: most.units,
        value: size,
        "aria-label": `neurons of layer ${k + 1}`,
        onchange: () => {
          hidden[k] = clamp(Math.round(Number(input.value) || 1), 1, most.units);
          changed();
        },
      });
      return make(
        "div",
        { class: "row" },
        input,
        make(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-label": `remove layer ${k + 1}`,
            onclick: () => {
              hidden.splice(k, 1);
              changed();
            },
          },
          "✕",
        ),
      );
    });
    const add = make(
      "button",
      {
        type: "button",
        class: "button",
        disabled: hidden.length >= most.layers,
        onclick: () => {
          hidden.push(hidden.at(-1) ?? 16);
          changed();
        },
      },
      "+ layer",
    );
    this.layers.replaceChildren(...rows, add);
  }

  setRate(rate, isChange) {
    const rounded = Number(rate.toPrecision(2));
    this.rate.value = Math.log10(rounded);
    this.rate.style.setProperty("--at", `${(100 * (Math.log10(rounded) + 4)) / 4.5}%`);
    this.rateShown.textContent = shortly(rounded, 2);
    if (!isChange) return;
    this.take({ rate: rounded });
    if (ACTIVE.includes(this.state)) this.control({ rate: rounded });
  }

  async train(further) {
    const { app } = this.panel;
    this.start.disabled = true;
    await app.attempt(async () => {
      const first = further && this.points.length ? this.points.at(-1).epoch : 0;
      await ask(`training/${this.slot}`, { ...this.choices, further });
      this.earlier = further ? this.points : [];
      this.offset = first;
      this.fresh = [];
      this.state = "running";
      app.hasTrained(this.slot);
    });
    this.buttons();
    this.panel.poll();
  }

  async control(changes) {
    if (!ACTIVE.includes(this.state)) return;
    await this.panel.app.attempt(
      async () => (this.state = (await ask(`training/${this.slot}/control`, changes)).state),
    );
    this.buttons();
  }

  async fetch() {
    const found = await ask(`training/${this.slot}?since=${this.fresh?.length ?? 0}`);
    this.fresh = [...(this.fresh ?? []), ...found.points];
    this.points = [
      ...(this.earlier ?? []),
      ...this.fresh.map((point) => ({ ...point, epoch: point.epoch + (this.offset ?? 0) })),
    ];
    this.progress = found;
    this.state = found.state;
    this.buttons();
  }

  buttons() {
    const active = ACTIVE.includes(this.state),
      has = this.points.length > 0 || this.state !== "";
    this.start.disabled = active;
    this.start.textContent = has ? "Train anew" : "Train";
    this.pause.textContent = this.state === "paused" ? "Go on" : "Pause";
    for (const button of [this.pause, this.stop]) button.hidden = !active;
    this.further.hidden = active || !has;
    this.look.hidden = !has;
    const at = this.points.at(-1)?.epoch ?? 0;
    this.status.textContent =
      this.state === "failed"
        ? this.progress.error
        : this.state && `${this.state}, epoch ${at.toFixed(1)}`;
    this.element.dataset.state = this.state;
  }
}

/** The view "Train". */
export class TrainPanel {
  constructor(app, box) {
    Object.assign(this, { app, box, plans: [] });
    this.results = make("div", { class: "plans" });
    this.side = make("div", { class: "plans" });
    this.compare = make("button", {
      type: "button",
      class: "button",
      id: "compare",
      onclick: () => this.toggle(),
    });
    box.replaceChildren(
      make(
        "div",
        { class: "workshop" },
        make("div", { class: "plans" }, this.side, this.compare),
        this.results,
      ),
    );
    this.add("a");
    if (app.state.compare) this.add("b");
    this.paint();
    this.catchUp();
  }

  add(slot) {
    this.plans.push(new Plan(this, slot));
    this.side.replaceChildren(...this.plans.map(({ element }) => element));
    this.compare.textContent =
      this.plans.length > 1 ? "Leave B out" : "Compare with a second network";
  }

  toggle() {
    const both = this.plans.length > 1;
    this.app.set({ compare: both ? null : 1 }, true);
    if (both) this.plans.pop();
    else this.add("b");
    this.side.replaceChildren(...this.plans.map(({ element }) => element));
    this.compare.textContent =
      this.plans.length > 1 ? "Leave B out" : "Compare with a second network";
    this.paint();
  }

  /** Curves of trainings that a reloaded page finds. */
  async catchUp() {
    for (const plan of this.plans)
      if (this.app.session.networks[plan.slot]?.training) await plan.fetch().catch(() => {});
    this.paint();
    this.poll();
  }

  /** Look again as long as something runs. */
  async poll() {
    if (this.polling) return;
    this.polling = true;
    try {
      while (this.plans.some(({ state }) => ACTIVE.includes(state))) {
        await new Promise((done) => setTimeout(done, WAIT));
        for (const plan of this.plans) if (ACTIVE.includes(plan.state)) await plan.fetch();
        this.paint();
        await this.app.learned(
          this.plans.filter(({ progress }) => progress).map(({ slot }) => slot),
        );
      }
    } catch (error) {
      this.app.say(error.message);
    } finally {
      this.polling = false;
    }
  }

  paint() {
    const trained = this.plans.filter(({ points }) => points.length);
    if (!trained.length) {
      this.results.replaceChildren(
        make(
          "div",
          { class: "card" },
          make("h2", {}, "Nothing is trained yet"),
          make(
            "p",
            { class: "note" },
            `Choose layers and press Train. ${this.app.session.learn.toLocaleString("en")} rows to learn from, ${this.app.session.test.toLocaleString("en")} held out: ${this.app.session.data}.`,
          ),
        ),
      );
      return;
    }
    const lines = (key) =>
      trained.flatMap(({ slot, points }) => {
        const line = (name, of, dashed) => ({
          name,
          colour: COLOURS[slot],
          dashed,
          points: points
            .filter((point) => Number.isFinite(point[of]))
            .map((point) => [point.epoch, point[of]]),
        });
        const prefix = this.plans.length > 1 ? `${slot.toUpperCase()} ` : "";
        return [
          line(`${prefix}held out`, `val_${key}`, false),
          line(`${prefix}learned`, key, true),
        ];
      });
    const top = Math.max(
      ...trained.flatMap(({ points }) => points.map(({ val_loss: loss }) => loss)).slice(0, 3),
      0.1,
    );
    const accuracy = trained.some(({ points }) => "val_accuracy" in points.at(-1));
    const cards = [
      make(
        "div",
        { class: "card", id: "curves" },
        make(
          "header",
          {},
          make("h2", {}, "How it learns"),
          make("span", { class: "note" }, "solid: rows held out; dashed: rows learned from"),
        ),
        ...trained.map((plan) => this.figures(plan)),
        make(
          "div",
          { class: "charts" },
          make(
            "figure",
            {},
            lineChart(lines("loss"), {
              label: "loss, epoch by epoch",
              x: "epoch",
              low: 0,
              high: top,
            }),
            make("figcaption", {}, "loss"),
          ),
          ...(accuracy
            ? [
                make(
                  "figure",
                  {},
                  lineChart(lines("accuracy"), {
                    label: "accuracy, epoch by epoch",
                    x: "epoch",
                    high: 1,
                  }),
                  make("figcaption", {}, "accuracy"),
                ),
              ]
            : []),
        ),
      ),
    ];
    for (const { slot, progress } of trained)
      if (progress) cards.push(this.weights(slot, progress.tiles));
    this.results.replaceChildren(...cards);
  }

  figures({ slot, points, progress }) {
    const last = points.at(-1),
      cell = (text, value) =>
        make("div", {}, make("span", { class: "note" }, text), make("b", {}, value));
    const cells = [
      cell("epoch", `${last.epoch.toFixed(1)}`),
      ...("val_accuracy" in last ? [cell("accuracy, held out", percent(last.val_accuracy))] : []),
      cell("loss, held out", shortly(last.val_loss)),
      cell("rate", shortly(progress?.rate ?? last.rate, 2)),
    ];
    return make(
      "div",
      { class: "figures", "data-figures": slot },
      ...(this.plans.length > 1
        ? [
            make(
              "div",
              {},
              make("span", { class: "note" }, "network"),
              make("b", {}, make("span", { class: `badge-${slot}` }, slot.toUpperCase())),
            ),
          ]
        : []),
      ...cells,
    );
  }

  weights(slot, { count, bytes, scale }) {
    const numbers = new Int8Array(bytesOf(bytes).buffer),
      size = numbers.length / count,
      side = Math.round(Math.sqrt(size));
    const title = `What ${count} neurons of the first layer look for${this.plans.length > 1 ? `, ${slot.toUpperCase()}` : ""}`;
    const tiles = Array.from({ length: count }, (_, k) =>
      numbers.subarray(k * size, (k + 1) * size),
    );
    const isPicture = this.app.network.side > 0 && side * side === size;
    const body = isPicture
      ? make(
          "div",
          { class: "weights" },
          ...tiles.map((tile, k) => {
            const canvas = pixels(`weights of neuron ${k}`);
            const most = tile.reduce((found, v) => Math.max(found, Math.abs(v)), 1);
            paintSigned(canvas, tile, side, most);
            return canvas;
          }),
        )
      : this.strips(tiles, size);
    return make(
      "div",
      { class: "card" },
      make(
        "header",
        {},
        make("h2", {}, title),
        make(
          "span",
          { class: "note" },
          `red: positive, blue: negative; up to ${shortly(127 * scale)}`,
        ),
      ),
      body,
    );
  }

  /** Weights of a table's inputs: a strip for each, a square a neuron. */
  strips(tiles, size) {
    return make(
      "div",
      { class: "strips" },
      ...Array.from({ length: size }, (_, i) => {
        const name = this.app.names[i] ?? `input ${i + 1}`,
          canvas = pixels(`weights of ${name}`);
        paintSigned(
          canvas,
          tiles.map((tile) => tile[i]),
          tiles.length,
          127,
          null,
          1,
          1,
        );
        return [make("span", {}, name), canvas];
      }).flat(),
    );
  }
}
