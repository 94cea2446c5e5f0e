// Pictures of numbers: pixels in ink or for and against, bars, lines.

import { make, shortly, signed } from "./dom.js";

export const colourOf = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
let seenScheme = null;
let known = {};

/** A colour of the style sheet as [red, green, blue], in the colours of now. */
export function rgb(name) {
  const scheme =
    getComputedStyle(document.documentElement).colorScheme +
    matchMedia("(prefers-color-scheme: dark)").matches;
  if (scheme !== seenScheme) [seenScheme, known] = [scheme, {}];
  if (!known[name]) {
    const sample = make("span", { hidden: true });
    sample.style.color = `var(${name})`;
    document.body.append(sample);
    probe.fillStyle = getComputedStyle(sample).color;
    probe.fillRect(0, 0, 1, 1);
    known[name] = [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
    sample.remove();
  }
  return known[name];
}

const mix = (from, to, share) => from.map((value, k) => value + share * (to[k] - value));

function paintPixels(canvas, width, height, colour) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"),
    image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set([...colour(i), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

const PAPER = [16, 19, 28];
const INK_COLOUR = [255, 247, 230];

/** Ink from 0 to `top`, light on dark as MNIST has it. */
export function paintInk(canvas, values, side, top) {
  paintPixels(canvas, side, side, (i) => mix(PAPER, INK_COLOUR, Math.min(1, values[i] / top)));
}

/** Numbers for and against: red above zero, blue below; the largest is full. `under`: ink beneath. */
export function paintSigned(canvas, values, side, largest, under, top, height = side) {
  const most = largest || values.reduce((found, value) => Math.max(found, Math.abs(value)), 1e-12);
  const paper = rgb("--well"),
    ink = rgb("--soft"),
    plus = rgb("--for"),
    minus = rgb("--against");
  paintPixels(canvas, side, height, (i) => {
    const base = under ? mix(paper, ink, 0.28 * Math.min(1, under[i] / top)) : paper;
    const share = Math.min(1, Math.abs(values[i]) / most) ** 0.75;
    return mix(base, values[i] > 0 ? plus : minus, share);
  });
}

export const pixels = (label) =>
  make("canvas", { class: "pixels", role: "img", "aria-label": label });

/** Bars with a zero in the middle: for to the right, against to the left (hatched). */
export function signedBars(entries) {
  const most = Math.max(1e-12, ...entries.map(([, value]) => Math.abs(value)));
  return make(
    "div",
    { class: "bars" },
    ...entries.flatMap(([name, value]) => {
      const part = make("i", { class: value > 0 ? "plus" : "minus" }),
        size = (50 * Math.abs(value)) / most;
      part.style.width = `${size}%`;
      part.style.left = `${value > 0 ? 50 : 50 - size}%`;
      return [
        make("span", { title: name }, name),
        make("div", { class: "bar-track two" }, part),
        make("span", {}, signed(value)),
      ];
    }),
  );
}

/** Bars from zero. */
export function plainBars(entries) {
  const low = Math.min(0, ...entries.map(([, value]) => value)),
    high = Math.max(1e-12, ...entries.map(([, value]) => value));
  return make(
    "div",
    { class: "bars" },
    ...entries.flatMap(([name, value]) => {
      const part = make("i");
      part.style.left = `${(100 * (Math.min(value, 0) - low)) / (high - low)}%`;
      part.style.width = `${(100 * Math.abs(value)) / (high - low)}%`;
      return [
        make("span", { title: name }, name),
        make("div", { class: "bar-track" }, part),
        make("span", {}, shortly(value)),
      ];
    }),
  );
}

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, properties, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Round numbers from low to high. */
function ticks(low, high, count) {
  const raw = (high - low) / count,
    power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((k) => k * power >= raw) ?? 10);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9 * step; value += step)
    found.push(Number(value.toPrecision(10)));
  return found;
}

/** Lines [{name, points: [[x, y], ...], colour, dashed}] over axes, as SVG with a description. */
export function lineChart(lines, { label, x = "", low, high, mark, left, right }) {
  const all = lines.flatMap(({ points }) => points);
  const W = 460,
    H = 230,
    L = 46,
    R = 78,
    T = 14,
    B = 32;
  const svg = shape("svg", {
    viewBox: `0 0 ${W} ${H}`,
    class: "plot",
    role: "img",
    "aria-label": label,
  });
  if (!all.length) return svg;
  const xs = all.map(([value]) => value),
    ys = all.map(([, value]) => value);
  const x0 = left ?? Math.min(...xs),
    x1 = right ?? Math.max(...xs, x0 + 1e-9);
  const y0 = low ?? Math.min(...ys),
    y1 = high ?? Math.max(...ys, y0 + 1e-9);
  const px = (value) => L + ((value - x0) / (x1 - x0)) * (W - L - R);
  const py = (value) => H - B - ((value - y0) / (y1 - y0)) * (H - T - B);
  for (const value of ticks(y0, y1, 4)) {
    svg.append(
      shape("line", { x1: L, x2: W - R, y1: py(value), y2: py(value), stroke: "var(--line)" }),
    );
    svg.append(shape("text", { x: L - 8, y: py(value) + 4, "text-anchor": "end" }, String(value)));
  }
  for (const value of ticks(x0, x1, 5))
    svg.append(shape("text", { x: px(value), y: H - 12, "text-anchor": "middle" }, String(value)));
  svg.append(shape("text", { x: W, y: H - 12, "text-anchor": "end" }, x));
  const ends = [];
  for (const { name, points, colour, dashed } of lines) {
    if (!points.length) continue;
    const within = (value) => py(Math.min(Math.max(value, y0), y1));
    const path = points
      .map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(1)} ${within(b).toFixed(1)}`)
      .join("");
    svg.append(
      shape("path", {
        d: path,
        fill: "none",
        stroke: colour,
        "stroke-width": 2,
        "stroke-linejoin": "round",
        ...(dashed ? { "stroke-dasharray": "5 4" } : {}),
      }),
    );
    ends.push({ name, colour, y: within(points.at(-1)[1]) + 4 });
  }
  ends.sort((a, b) => a.y - b.y);
  const apart = 14,
    lowest = H - B + 4;
  ends.forEach((end, k) => (end.y = Math.max(end.y, T + 4, k ? ends[k - 1].y + apart : 0)));
  ends.reverse().forEach((end, k) => (end.y = Math.min(end.y, k ? ends[k - 1].y - apart : lowest)));
  for (const { name, colour, y } of ends) {
    const text = shape("text", { x: W - R + 6, y, "font-weight": 600 }, name);
    text.style.fill = colour;
    svg.append(text);
  }
  if (mark !== undefined)
    svg.append(
      shape("line", {
        x1: px(mark),
        x2: px(mark),
        y1: T,
        y2: H - B,
        stroke: "var(--focus)",
        "stroke-width": 2,
      }),
    );
  return svg;
}
