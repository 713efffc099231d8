// Line charts as SVG: one function from numbers to a picture.
import { draw, make, number } from "./dom.js";

const HEIGHT = 230, LEFT = 46, RIGHT = 12, TOP = 12, BOTTOM = 36;

// series: [{name, points: [[x, y]], kind: "train" | "validation" | "all" | "score", colour}], colour from 0 to 9
export function lineChart(figure, { title, series, yTitle, xTitle = "round", kept = null, xMax = 1 }) {
  const width = Math.max(260, figure.clientWidth || 420);
  const shown = series.filter((one) => one.points.length);
  const ys = shown.flatMap((one) => one.points.map(([, y]) => y));
  const highest = Math.max(xMax, ...shown.flatMap((one) => one.points.map(([x]) => x)));
  const [low, high, step] = niceRange(ys);
  const x = (value) => LEFT + (value / highest) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const picture = draw("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": summary(title, shown, yTitle),
  });
  for (let value = low; value <= high + step / 2; value += step) {
    picture.append(
      draw("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      draw("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, trimmed(value, step)),
    );
  }
  for (const value of wholeTicks(highest, width)) {
    picture.append(draw("text", { x: x(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, String(value)));
  }
  picture.append(
    draw("text", { x: width - RIGHT, y: HEIGHT - 2, "text-anchor": "end" }, xTitle),
  );
  if (kept !== null) {
    picture.append(
      draw("line", { class: "kept", x1: x(kept), x2: x(kept), y1: TOP, y2: HEIGHT - BOTTOM }),
      draw("text", { x: x(kept) - 5, y: TOP + 9, "text-anchor": "end" }, "kept"),
    );
  }
  for (const one of shown) picture.append(...marks(one, x, y));
  figure.replaceChildren(make("h3", {}, title, make("small", {}, yTitle)), picture, legend(shown));
}

function marks({ name, points, kind, colour }, x, y) {
  const line = draw("polyline", {
    class: { validation: "dotted", all: "all", score: "strong" }[kind] || "",
    points: points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(" "),
  });
  if (kind !== "all") line.style.stroke = `var(--s${colour})`;
  const dots = points.map(([px, py]) => {
    const dot = draw("circle", { cx: x(px), cy: y(py), r: kind === "all" ? 3 : 2.2, class: kind === "all" ? "all" : "" });
    if (kind !== "all") dot.style.fill = `var(--s${colour})`;
    dot.append(draw("title", {}, `${name}, ${kind === "train" ? "training" : kind}, round ${px}: ${number(py)}`));
    return dot;
  });
  return kind === "validation" ? [line] : [line, ...dots];
}

function legend(shown) {
  const names = new Map(shown.map((one) => [one.name, one]));
  return make("ul", { class: "legend" }, ...[...names.values()].map((one) => {
    const sign = make("i", one.kind === "all" ? { class: "all" } : {});
    if (one.kind !== "all") sign.style.borderColor = `var(--s${one.colour})`;
    return make("li", {}, sign, one.name);
  }));
}

function summary(title, shown, yTitle) {
  const last = shown.filter((one) => one.kind !== "validation").map((one) => {
    const [round, value] = one.points[one.points.length - 1];
    return `${one.name} ${number(value)} at round ${round}`;
  });
  return `${title}: ${yTitle} by round. ${last.join("; ")}`;
}

function niceRange(values) {
  if (!values.length) return [0, 1, 0.5];
  let low = Math.min(...values), high = Math.max(...values);
  if (high - low < 1e-9) [low, high] = [low - 0.05, high + 0.05];
  const rough = (high - low) / 4, scale = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * scale).find((one) => one >= rough);
  return [Math.floor(low / step) * step, Math.ceil(high / step) * step, step];
}

function wholeTicks(highest, width) {
  const step = Math.max(1, Math.ceil(highest / Math.max(2, Math.floor(width / 60))));
  const ticks = Array.from({ length: Math.floor(highest / step) + 1 }, (_, place) => place * step);
  return [...ticks.filter((one) => highest - one >= step), highest];
}

// As many digits as the step has, so that no two ticks read alike.
function trimmed(value, step) {
  const digits = [0, 1, 2, 3, 4].find((one) => Math.abs(step - Number(step.toFixed(one))) < step * 1e-6);
  return value.toFixed(digits ?? 5);
}
