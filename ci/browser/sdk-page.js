// Runs in the pages of sdk.mjs: one centrifuge client, and all that it is told.
"use strict";

globalThis.chat = {
  subs: {},
  binary: false,
  events: {},

  encode(value) { return this.binary ? new TextEncoder().encode(JSON.stringify(value)) : value; },

  decode(data) {
    if (!(data instanceof Uint8Array)) return data;
    return data.length === 0 ? null : JSON.parse(new TextDecoder().decode(data));
  },

  /** What goes to the test as JSON: without bytes, and without objects of the client. */
  plain(value) {
    if (value instanceof Uint8Array) return this.decode(value);
    if (Array.isArray(value)) return value.map((one) => this.plain(one));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).filter(([, one]) => typeof one !== "function").map(([name, one]) => [name, this.plain(one)]));
  },

  told(channel, name) { return this.events[channel]?.[name] ?? []; },

  note(channel, name, event) { ((this.events[channel] ??= {})[name] ??= []).push(this.plain(event)); },

  listen(channel, emitter, names) { for (const name of names) emitter.on(name, (event) => this.note(channel, name, event)); },

  create(endpoint, token, binary, refreshes) {
    this.binary = binary;
    const options = { token, minReconnectDelay: 20, maxReconnectDelay: 200 };
    if (refreshes) options.getToken = () => freshToken("");
    this.client = new Centrifuge(endpoint, options);
    // The last three are those of subscriptions that the server made.
    this.listen("", this.client, ["connecting", "connected", "disconnected", "subscribed", "unsubscribed", "publication"]);
  },

  subscribe(channel, { refreshes, ...options }) {
    if (refreshes) options.getToken = (asked) => freshToken(asked.channel);
    const sub = this.client.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 200, ...options });
    this.subs[channel] = sub;
    this.listen(channel, sub, ["publication", "subscribing", "subscribed", "unsubscribed", "join", "leave"]);
    sub.subscribe();
  },

  /** Calls a method of a subscription; a value to publish is given as such. */
  async ask(channel, method, argument) {
    try {
      return this.plain(await this.subs[channel][method](method === "publish" ? this.encode(argument) : argument));
    } catch (error) {
      return { refused: error.code ?? String(error) };
    }
  },
};
