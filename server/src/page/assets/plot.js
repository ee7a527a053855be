// Plots over the last minutes: axes, units, and what they show in words.

import { el } from "./dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const MARGIN = { left: 58, right: 12, top: 8, bottom: 22 }, HEIGHT = 150, TICKS = 4;

export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const UNITS = {
  count: [1000, ["", "k", "M", "G", "T"]],
  bytes: [1024, [" B", " KiB", " MiB", " GiB", " TiB"]],
};

/** A number with three digits or so and its unit. */
export function amount(value, kind = "count") {
  if (value === null || value === undefined) return "–";
  const [base, names] = UNITS[kind];
  let rest = value, at = 0;
  while (rest >= base && at < names.length - 1) { rest /= base; at += 1; }
  const digits = at === 0 && Number.isInteger(rest) ? 0 : rest >= 100 ? 0 : rest >= 10 ? 1 : 2;
  const text = rest.toFixed(digits);
  return (text.includes(".") ? text.replace(/\.?0+$/, "") : text) + names[at];
}

/** The distance of ticks that are easy to read: 1, 2 or 5 times a power. */
function step(most, kind) {
  const least = most / TICKS;
  if (kind === "bytes") return Math.max(1, 2 ** Math.ceil(Math.log2(least)));
  const power = 10 ** Math.floor(Math.log10(least));
  return Math.max(kind === "count" ? 1 : 0, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least));
}

/** A plot of some series: `add` a value of each (`null`: not known) per sample. */
export class Plot {
  #figure;
  #title;
  #names;
  #kind;
  #seconds;
  #values;
  #labels;
  #at = [];

  constructor(figure, { title, unit, names, kind, seconds }) {
    this.#figure = figure;
    this.#title = title;
    this.#names = names;
    this.#kind = kind;
    this.#seconds = seconds;
    this.#values = names.map(() => []);
    const caption = el("figcaption", "", title);
    this.#labels = names.map((_, index) => {
      const label = el("small"), value = el("span");
      if (names.length > 1) label.append(el("i", `series-${index}`));
      label.append(value);
      caption.append(label);
      return value;
    });
    caption.append(el("small", "unit", unit));
    this.#figure.replaceChildren(caption, svg("svg", { class: "plot", role: "img" }));
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  add(values) {
    this.#at.push(performance.now());
    values.forEach((value, index) => this.#values[index].push(value));
    const oldest = performance.now() - this.#seconds * 1e3;
    while (this.#at[0] < oldest) {
      this.#at.shift();
      for (const series of this.#values) series.shift();
    }
    this.draw();
  }

  draw() {
    const width = Math.round(this.#figure.querySelector("svg").clientWidth);
    if (!width) return;
    const most = Math.max(this.#kind === "bytes" ? 64 : 4, ...this.#values.flat());
    const tick = step(most, this.#kind);
    const top = Math.ceil(most / tick) * tick;
    const right = width - MARGIN.right, bottom = HEIGHT - MARGIN.bottom;
    const now = performance.now();
    const x = (at) => right - (now - at) / (this.#seconds * 1e3) * (right - MARGIN.left);
    const y = (value) => bottom - value / top * (bottom - MARGIN.top);

    const parts = [];
    for (let value = 0; value <= top; value += tick) {
      const line = y(value);
      parts.push(svg("line", { class: value ? "grid" : "axis", x1: MARGIN.left, x2: right, y1: line, y2: line }));
      parts.push(svg("text", { x: MARGIN.left - 8, y: line + 4, "text-anchor": "end" }, amount(value, this.#kind)));
    }
    for (let minute = this.#seconds / 60; minute >= 0; minute -= 1) {
      const at = x(now - minute * 60e3);
      parts.push(svg("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 4 }));
      parts.push(svg("text", { x: at, y: HEIGHT - 5, "text-anchor": minute ? "middle" : "end" }, minute ? `−${minute} min` : "now"));
    }
    this.#values.forEach((series, index) => parts.push(...this.#line(series, index, x, y, bottom)));
    const plot = this.#figure.querySelector("svg");
    plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    plot.replaceChildren(...parts);
    this.#say();
  }

  /** Pieces of a line: there is none where nothing was known. */
  #line(series, index, x, y, bottom) {
    const pieces = [[]];
    series.forEach((value, at) => {
      if (value === null) pieces.push([]);
      else pieces.at(-1).push([x(this.#at[at]).toFixed(1), y(value).toFixed(1)]);
    });
    return pieces.filter((piece) => piece.length).flatMap((piece) => {
      const line = `M${piece.map((point) => point.join(",")).join("L")}`;
      const parts = [svg("path", { class: `series-${index}`, d: line })];
      if (this.#names.length === 1) parts.unshift(svg("path", { class: `area series-${index}`, d: `${line}L${piece.at(-1)[0]},${bottom}L${piece[0][0]},${bottom}Z` }));
      return parts;
    });
  }

  #say() {
    const words = this.#values.map((series, index) => {
      const latest = amount(series.at(-1), this.#kind);
      this.#labels[index].textContent = `${this.#names[index]} ${latest}`.trim();
      return `${this.#names[index]} now ${latest}, at most ${amount(Math.max(0, ...series), this.#kind)}`.trim();
    });
    this.#figure.querySelector("svg").setAttribute("aria-label", `${this.#title}, the last ${this.#seconds / 60} minutes: ${words.join("; ")}`);
  }
}
