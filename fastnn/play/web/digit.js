// A drawn digit as MNIST has it: the twin of `centred` in fastnn/pictures.py.

const BOX = 20 / 28;
const FAINT = 0.1;

const nearest = (value) => Math.floor(value + 0.5);

/** Ink (height × width, from 0) as a picture of side × side, 0 paper to 255 ink. */
export function centred(ink, height, width, side = 28) {
  const picture = new Uint8Array(side * side);
  let faint = 0;
  for (const value of ink) if (value > faint) faint = value;
  faint *= FAINT;
  let top = height,
    left = width,
    bottom = -1,
    right = -1;
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      if (ink[i * width + j] > faint) {
        top = Math.min(top, i);
        bottom = i;
        left = Math.min(left, j);
        right = Math.max(right, j);
      }
    }
  }
  if (bottom < 0) return picture;
  const part = { height: bottom - top + 1, width: right - left + 1 };
  const scale = nearest(side * BOX) / Math.max(part.height, part.width);
  const h = Math.max(1, nearest(part.height * scale)),
    w = Math.max(1, nearest(part.width * scale));
  const across = means(w, part.width),
    down = means(h, part.height);
  const rows = down.map((parts) => {
    const row = new Float64Array(part.width);
    for (const [i, share] of parts)
      for (let j = 0; j < row.length; j++) row[j] += share * ink[(top + i) * width + left + j];
    return row;
  });
  const small = rows.map((row) =>
    across.map((parts) => parts.reduce((sum, [j, share]) => sum + share * row[j], 0)),
  );
  const downwards = place(
    small.map((row) => row.reduce((sum, value) => sum + value, 0)),
    side,
  );
  const sideways = place(
    across.map((_, j) => small.reduce((sum, row) => sum + row[j], 0)),
    side,
  );
  const factor = 255 / Math.max(...small.flat());
  small.forEach((row, i) =>
    row.forEach((value, j) => {
      picture[(downwards + i) * side + sideways + j] = Math.floor(value * factor + 0.5);
    }),
  );
  return picture;
}

/** For each of the few pixels, which of the many it covers, and what share each has of it. */
function means(small, large) {
  const step = large / small;
  return Array.from({ length: small }, (_, i) => {
    const from = i * step,
      to = (i + 1) * step,
      parts = [];
    for (let j = Math.floor(from); j < Math.min(large, to); j++) {
      const covered = Math.min(to, j + 1) - Math.max(from, j);
      if (covered > 1e-12) parts.push([j, covered / step]);
    }
    return parts;
  });
}

/** Where pixels of these sums begin, so that their centre of mass is the pixel in the middle. */
function place(sums, side) {
  const total = sums.reduce((sum, value) => sum + value, 0);
  const centre = sums.reduce((sum, value, i) => sum + i * value, 0) / total;
  return Math.min(Math.max(nearest(side / 2 - centre), 0), side - sums.length);
}
