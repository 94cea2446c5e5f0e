// Elements, numbers in text, and asking the server.

export const byId = (id) => document.getElementById(id);

/** An element with properties (`class`, `data-*`, `aria-*`, listeners `onclick`, ...) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-") && name !== "list") element[name] = value;
    else if (value !== null) element.setAttribute(name === "class" ? "class" : name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A labelled choice; `names` are values, or pairs of value and text. */
export function choice(label, names, value, change) {
  const options = names.map((name) => {
    const [key, text] = Array.isArray(name) ? name : [name, name];
    return make("option", { value: key, selected: String(key) === String(value) }, String(text));
  });
  const select = make("select", { onchange: () => change(select.value) }, ...options);
  return make("label", { class: "field" }, make("span", {}, label), select);
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** A number in a few digits, with a true minus sign. */
export function shortly(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text =
    value === 0
      ? "0"
      : size >= 1e5 || size < 1e-3
        ? value.toExponential(1)
        : size >= 1000
          ? value.toFixed(0)
          : value.toPrecision(digits);
  return text.replace("-", "−");
}

/** A number as a person would write it. */
export const plainly = (value) => String(Number(value.toPrecision(4))).replace("-", "−");

export const signed = (value) => (value > 0 ? `+${shortly(value)}` : shortly(value));

export const percent = (share) =>
  `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`;

/** What the server says. Raises Error with its words. */
export async function ask(path, body) {
  const options =
    body === undefined
      ? {}
      : {
          method: "POST",
          body: JSON.stringify(body),
          headers: { "content-type": "application/json" },
        };
  const response = await fetch(`/api/${path}`, { credentials: "same-origin", ...options });
  const text = await response.text();
  let found = null;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error(text.slice(0, 200) || `the server said ${response.status}`);
  }
  if (!response.ok) throw new Error(found.error);
  return found;
}

/** Bytes of a base64 text. */
export const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Runs `work` once before the next repaint, however often it was asked for. */
export function onceAFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
