// Places: `parts` are of the picture's width and height, 0 to 1 from its top left; `px` are CSS pixels.

/** Where a picture of `width` x `height` lies in a box that shows all of it: {left, top, width, height}, px. */
export function contained(boxWidth, boxHeight, width, height) {
  if (!width || !height || !boxWidth || !boxHeight) return { left: 0, top: 0, width: boxWidth, height: boxHeight };
  const scale = Math.min(boxWidth / width, boxHeight / height);
  return {
    left: (boxWidth - width * scale) / 2,
    top: (boxHeight - height * scale) / 2,
    width: width * scale,
    height: height * scale,
  };
}

export const clamp = (value, least = 0, most = 1) => Math.min(most, Math.max(least, value));

/** To a thousandth, which is finer than a hand and keeps configs readable. */
export const rounded = ([x, y]) => [Math.round(clamp(x) * 1000) / 1000, Math.round(clamp(y) * 1000) / 1000];

/** Whether two segments cross or touch. */
export function crosses([a, b], [c, d]) {
  const side = (p, q, r) => Math.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]));
  const within = (p, q, r) => Math.min(p[0], q[0]) <= r[0] && r[0] <= Math.max(p[0], q[0])
    && Math.min(p[1], q[1]) <= r[1] && r[1] <= Math.max(p[1], q[1]);
  const [abc, abd, cda, cdb] = [side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)];
  if (abc !== abd && cda !== cdb) return true;
  return (abc === 0 && within(a, b, c)) || (abd === 0 && within(a, b, d))
    || (cda === 0 && within(c, d, a)) || (cdb === 0 && within(c, d, b));
}

/** What keeps corners from being a zone, as a sentence; null when nothing does. */
export function wrongWithPolygon(corners) {
  if (corners.length < 3) return "a zone has at least three corners";
  if (corners.length > 100) return "a zone has at most 100 corners";
  const edges = corners.map((corner, index) => [corner, corners[(index + 1) % corners.length]]);
  for (let one = 0; one < edges.length; one += 1) {
    for (let other = one + 2; other < edges.length; other += 1) {
      if (one === 0 && other === edges.length - 1) continue; // neighbours as well
      if (crosses(edges[one], edges[other])) return "its edges cross";
    }
  }
  const area = edges.reduce((sum, [p, q]) => sum + p[0] * q[1] - q[0] * p[1], 0) / 2;
  return Math.abs(area) < 1e-4 ? "it has no area" : null;
}

/** The middle of corners, for a label. */
export function middle(corners) {
  const sum = corners.reduce(([x, y], corner) => [x + corner[0], y + corner[1]], [0, 0]);
  return [sum[0] / corners.length, sum[1] / corners.length];
}
