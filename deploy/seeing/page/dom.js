// Elements, times and numbers. Text goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function table(element, heads, rows) {
  const head = make("tr", {}, ...heads.map(({ text, n }) => make("th", { scope: "col", ...(n && { class: "n" }) }, text)));
  element.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const [large, small, ...units] = whole < 3600
    ? [Math.floor(whole / 60), whole % 60, "min", "s"] : [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), "h", "min"];
  return small ? `${large} ${units[0]} ${small} ${units[1]}` : `${large} ${units[0]}`;
}

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });
export const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
