// ws on Node.js, as its README's examples write it.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { WebSocket, WebSocketServer } from 'ws';
import { MAX_MESSAGE, options } from './options.mjs';

const { broadcast, host, port, deflate, tls } = options(process.argv.slice(2));
const server = tls
  ? createSecureServer({ cert: readFileSync(tls.cert), key: readFileSync(tls.key) })
  : createServer();
const sockets = new WebSocketServer({
  server,
  maxPayload: MAX_MESSAGE,
  perMessageDeflate: deflate && { threshold: 0 },
});

sockets.on('connection', (socket) => {
  // A connection that fails has ended.
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => {
    if (!broadcast) {
      socket.send(data, { binary: isBinary });
      return;
    }
    for (const other of sockets.clients) {
      if (other !== socket && other.readyState === WebSocket.OPEN) other.send(data, { binary: isBinary });
    }
  });
});

server.listen({ host, port, backlog: 4096 }, () => {
  console.log(`listening on ${server.address().address}:${server.address().port}`);
});
