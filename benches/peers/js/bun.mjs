// Bun's server: uWebSockets below, as Bun's documentation writes it.
import { MAX_MESSAGE, options } from './options.mjs';

/** What may wait for one connection. */
const BACKPRESSURE = 64 << 20;
const TOPIC = 'all';

const { broadcast, host, port, deflate, tls } = options(process.argv.slice(2));
const server = Bun.serve({
  hostname: host,
  port,
  tls: tls ? { cert: Bun.file(tls.cert), key: Bun.file(tls.key) } : undefined,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response('WebSocket only', { status: 400 });
  },
  websocket: {
    perMessageDeflate: deflate,
    maxPayloadLength: MAX_MESSAGE,
    backpressureLimit: BACKPRESSURE,
    idleTimeout: 120,
    open(socket) {
      if (broadcast) socket.subscribe(TOPIC);
    },
    message(socket, message) {
      if (broadcast) socket.publish(TOPIC, message, deflate);
      else socket.send(message);
    },
  },
});
console.log(`listening on ${server.hostname}:${server.port}`);
