// The smallest change of an input that changes the decision: the search of
// fastnn/inspection/counterfactuals.py, on the network as it stands in the page.

const ATTEMPTS = 6, // the first from the input itself
  CROSSINGS = 60, // to the other side,
  ROUNDS = 40, // and along the boundary
  HALVINGS = 40,
  AHEAD = 1e-3, // by how much the sum of the target leads in the end
  BETTER = 1e-4; // of the distance: a round that gains less is the last

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const minus = (a, b) => a.map((value, i) => value - b[i]);
const between = (a, b, share) => a.map((value, i) => value + share * (b[i] - value));
const norm = (a) => Math.sqrt(dot(a, a));
const clipped = (h, { low, high }) => h.map((v, i) => Math.min(Math.max(v, low[i]), high[i]));

/** Normal numbers, the same each time: mulberry32, and Box and Muller's transform. */
function normals() {
  let state = 1;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** By how much the sum of the target leads the largest other, at scaled inputs. */
class Lead {
  constructor(network, target) {
    Object.assign(this, { network, target });
    this.threshold = network.layers.at(-1).activation === "sigmoid" ? 0 : 0.5;
  }

  at(h) {
    return this.of(h).ahead;
  }

  of(h) {
    const values = this.network.forwardScaled(h),
      z = values.z.at(-1),
      { target } = this;
    if (z.length === 1) {
      const sign = target === 1 ? 1 : -1;
      return { values, seed: [sign], ahead: sign * (z[0] - this.threshold) };
    }
    let other = target === 0 ? 1 : 0;
    z.forEach((value, k) => k !== target && value > z[other] && (other = k));
    const seed = Array.from(z, (_, k) => (k === target ? 1 : k === other ? -1 : 0));
    return { values, seed, ahead: z[target] - z[other] };
  }

  /** The lead, and its gradient. */
  slope(h) {
    const { values, seed, ahead } = this.of(h);
    return { ahead, slope: this.network.gradientScaled(values, seed) };
  }
}

/** The point of the box closest to `here` where slope · (point - here) is what is wanted. */
function closest(here, slope, wanted, box) {
  const at = (step) => clipped(here.map((value, i) => value + step * slope[i]), box);
  const reached = (step) => dot(slope, minus(at(step), here)) >= wanted;
  const steep = dot(slope, slope);
  if (steep === 0) return here;
  let far = Math.max(wanted / steep, 0),
    doublings = 0;
  while (!reached(far)) {
    if (++doublings > 60) return at(far);
    far *= 2;
  }
  let near = 0;
  for (let k = 0; k < HALVINGS; k++) {
    const middle = (near + far) / 2;
    if (reached(middle)) far = middle;
    else near = middle;
  }
  return at(far);
}

/** A point where the target leads, by steps to where the linear function would. */
function across(lead, here, box) {
  for (let k = 0; k < CROSSINGS; k++) {
    const { ahead, slope } = lead.slope(here);
    if (ahead >= AHEAD) break;
    here = closest(here, slope, 2 * AHEAD - ahead, box);
  }
  return here;
}

/** The last point between start and there, from there, where the target leads. */
function toBoundary(lead, start, there) {
  let near = 0,
    far = 1;
  while (far - near >= 1e-6) {
    const middle = (near + far) / 2;
    if (lead.at(between(start, there, middle)) >= AHEAD) far = middle;
    else near = middle;
  }
  return between(start, there, far);
}

/** A point where the target just leads, nearer and nearer to the start. */
function along(lead, start, there, box) {
  let best = toBoundary(lead, start, there);
  for (let round = 0; round < ROUNDS; round++) {
    const { ahead, slope } = lead.slope(best);
    const inside = clipped(start, box);
    const wanted = AHEAD - ahead - dot(slope, minus(inside, best));
    let tip = closest(inside, slope, wanted, box);
    for (let k = 0; k < 10 && lead.at(tip) < AHEAD; k++) tip = between(tip, best, 0.5);
    tip = lead.at(tip) >= AHEAD ? toBoundary(lead, start, tip) : best;
    const before = norm(minus(best, start)),
      gained = before - norm(minus(tip, start));
    if (gained > 0) best = tip;
    if (gained < BETTER * before) break;
  }
  return best;
}

/** Between what the inputs stay, scaled; frozen ones stay as they are. */
function boundsOf(network, start, frozen) {
  const { ranges, top, inputs, side } = network;
  const low = network.scaled(side ? new Array(inputs).fill(0) : ranges.low),
    high = network.scaled(side ? new Array(inputs).fill(top) : ranges.high);
  for (const i of frozen) low[i] = high[i] = start[i];
  return { low, high };
}

/** The closest input that the network takes for `target`, of those found from x and around it.
 *
 * Throws Error where none is found. The page lives on meanwhile.
 */
export async function smallestChange(network, x, target, frozen) {
  const start = network.scaled(x),
    box = boundsOf(network, start, frozen),
    lead = new Lead(network, target),
    normal = normals();
  let best = null,
    reach = 1,
    least = Infinity;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const spread = attempt ? reach / Math.sqrt(start.length) : 0;
    const begun = clipped(start.map((value) => value + spread * normal()), box);
    const there = across(lead, begun, box);
    if (lead.at(there) >= AHEAD) {
      const found = along(lead, start, there, box);
      reach = norm(minus(found, start));
      if (reach < least) [best, least] = [found, reach];
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
  if (!best) throw new Error("Nothing within the bounds is taken for that.");
  const found = Array.from(network.unscaled(best));
  for (const i of frozen) found[i] = x[i];
  return found;
}
