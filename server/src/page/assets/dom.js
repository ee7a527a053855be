// What both pages need of the document.

export const $ = (id) => document.getElementById(id);

/** An element with a class and a text, which stays text whatever is in it. */
export function el(tag, cls = "", text = undefined) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Sets a text only if it is another: a live region is read again otherwise. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Local or session storage that may be forbidden, or hold anything. */
export class Store {
  #area;
  constructor(area) { try { this.#area = window[area]; } catch { /* not kept */ } }
  get(key) { try { return this.#area.getItem(`hioload.${key}`) ?? ""; } catch { return ""; } }
  set(key, value) { try { this.#area.setItem(`hioload.${key}`, value); } catch { /* not kept */ } }
  delete(key) { try { this.#area.removeItem(`hioload.${key}`); } catch { /* it was not kept */ } }
}

const cut = (text, max) => Array.from(text).slice(0, max).join("");

/** One line without what controls or turns the writing. */
export const oneLine = (text, max) =>
  cut(text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, " ").replace(/\s+/g, " ").trim(), max);

/** Lines without controls, and never many empty ones. */
export const lines = (text, max) =>
  cut(text.replace(/\r\n?/g, "\n").replace(/[^\P{Cc}\n\t]/gu, "").replace(/\n{3,}/g, "\n\n").trim(), max);

export const random = (below) => Math.floor(Math.random() * below);
