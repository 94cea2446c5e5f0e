// The drawing board: strokes of a mouse, a finger, a pen, or of the keys.

import { clamp } from "./dom.js";

const SIZE = 280; // of the board, in pixels of the page
const INK = 140; // of the picture that strokes are made into
const PEN = 0.085; // of the board's side
const NORMAL = { size: 100, pen: 12.5 }; // a digit is redrawn there in this size with this pen
const MOVE = 0.04; // of the board, by an arrow key

/** A board on a canvas. Strokes are lists of points [x, y] from 0 to 1. */
export class Board {
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed, strokes: [], cursor: null, isDown: false });
    canvas.width = canvas.height = Math.ceil(SIZE * Math.min(devicePixelRatio || 1, 2));
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"])
      canvas.addEventListener(name, () => (this.pointer = null));
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("blur", () => this.putDown(null));
    this.scratch = new OffscreenCanvas(INK, INK).getContext("2d", { willReadFrequently: true });
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(
      (v) => clamp(v, 0, 1),
    );
  }

  begin(event) {
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.strokes.push([this.at(event)]);
    this.changed(event.timeStamp);
  }

  move(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.strokes.at(-1).push(this.at(one));
    this.changed(event.timeStamp);
  }

  press(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (!step && ![" ", "Escape", "Delete", "Backspace"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Delete" || event.key === "Backspace") return this.clear();
    if (event.key === "Escape") return this.putDown(null);
    this.cursor ??= [0.5, 0.3];
    if (event.key === " ") {
      this.isDown = !this.isDown;
      if (this.isDown) this.strokes.push([[...this.cursor]]);
    } else {
      this.cursor = this.cursor.map((value, k) => clamp(value + MOVE * step[k], 0.02, 0.98));
      if (this.isDown) this.strokes.at(-1).push([...this.cursor]);
    }
    this.changed(event.timeStamp);
  }

  putDown(cursor) {
    this.isDown = false;
    this.cursor = cursor;
    this.paint();
  }

  clear() {
    this.drop();
    this.changed();
  }

  /** No strokes any more, nor one that is being drawn. */
  drop() {
    Object.assign(this, { strokes: [], pointer: null, isDown: false });
  }

  /** Show the strokes, and the pen of the keys. */
  paint() {
    const context = this.canvas.getContext("2d"),
      size = this.canvas.width;
    context.clearRect(0, 0, size, size);
    const style = getComputedStyle(this.canvas);
    context.strokeStyle = context.fillStyle = style.getPropertyValue("--board-ink");
    context.setTransform(size, 0, 0, size, 0, 0);
    stroke(context, this.strokes, PEN);
    if (this.cursor) {
      context.strokeStyle = style.getPropertyValue("--focus");
      context.lineWidth = 0.012;
      context.beginPath();
      context.arc(...this.cursor, PEN / (this.isDown ? 2 : 1.2), 0, 7);
      context.stroke();
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** The ink (INK × INK) of the strokes, redrawn in one size with one pen: a small digit has thin
   * lines then, as a large one. */
  ink() {
    const context = this.scratch,
      points = this.strokes.flat();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, INK, INK);
    if (points.length) {
      const xs = points.map(([x]) => x),
        ys = points.map(([, y]) => y);
      const [left, top] = [Math.min(...xs), Math.min(...ys)];
      const extent = Math.max(Math.max(...xs) - left, Math.max(...ys) - top, 0.02);
      const scale = (NORMAL.size - NORMAL.pen) / extent,
        margin = (INK - NORMAL.size + NORMAL.pen) / 2;
      context.setTransform(scale, 0, 0, scale, margin - left * scale, margin - top * scale);
      context.strokeStyle = context.fillStyle = "#fff";
      stroke(context, this.strokes, NORMAL.pen / scale);
    }
    const pixels = context.getImageData(0, 0, INK, INK).data,
      ink = new Uint8Array(INK * INK);
    for (let i = 0; i < ink.length; i++) ink[i] = pixels[4 * i];
    return { ink, side: INK };
  }

  /** The strokes as text for an address: two letters a point, in steps of 1/63. */
  get text() {
    const letters = (stroke) =>
      thinned(stroke)
        .flatMap(([x, y]) => [x, y].map((v) => DIGITS[Math.round(v * 63)]))
        .join("");
    return this.strokes.map(letters).join(".");
  }

  set text(text) {
    const numbers = (part) => [...part].map((c) => Math.max(0, DIGITS.indexOf(c)) / 63);
    const points = (part) =>
      Array.from({ length: part.length >> 1 }, (_, i) => numbers(part).slice(2 * i, 2 * i + 2));
    this.drop();
    this.strokes = text
      .slice(0, 4000)
      .split(".")
      .map(points)
      .filter((one) => one.length);
  }
}

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/** Points of a stroke that are some way apart, its ends among them. */
function thinned(points) {
  const kept = [points[0]];
  for (const point of points)
    if (Math.hypot(point[0] - kept.at(-1)[0], point[1] - kept.at(-1)[1]) > 0.03) kept.push(point);
  if (points.length > 1) kept.push(points.at(-1));
  return kept;
}

function stroke(context, strokes, width) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const points of strokes) {
    context.beginPath();
    if (points.length === 1) context.arc(...points[0], width / 2, 0, 7);
    else points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (points.length === 1) context.fill();
    else context.stroke();
  }
}
