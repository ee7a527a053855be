// The command line that all peers take: MODE [--listen ADDR] [--deflate] [--tls CERT KEY].

/** The most bytes of a message that a peer is asked to take. */
export const MAX_MESSAGE = 16 << 20;

export function options(args) {
  const [mode, ...rest] = args;
  if (mode !== 'echo' && mode !== 'broadcast') throw new Error(`the mode is echo or broadcast, not ${mode}`);
  const parsed = { broadcast: mode === 'broadcast', host: '127.0.0.1', port: 0, deflate: false, tls: null };
  while (rest.length > 0) {
    const name = rest.shift();
    if (name === '--deflate') {
      parsed.deflate = true;
    } else if (name === '--listen') {
      const [host, port] = rest.shift().split(':');
      Object.assign(parsed, { host, port: Number(port) });
    } else if (name === '--tls') {
      parsed.tls = { cert: rest.shift(), key: rest.shift() };
    } else {
      throw new Error(`no such option: ${name}`);
    }
  }
  return parsed;
}
