// The hosted project's front door, as far as supabase-py sees it: PostgREST answers under /rest/v1, and only to
// callers that send an `apikey`. Started by the sandbox with PORT and POSTGREST_URL; Node's own modules only.
import http from "node:http";

const port = Number(process.env.PORT);
const upstream = new URL(process.env.POSTGREST_URL);
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
const prefix = "/rest/v1";
const hopByHop = ["connection", "keep-alive", "transfer-encoding", "upgrade"];

function refuse(response, status, message) {
  if (response.headersSent) return response.destroy();
  const headers = { "content-type": "application/json", ...(status === 503 && { "retry-after": "1" }) };
  response.writeHead(status, headers).end(JSON.stringify({ message }));
}

function endToEnd(headers) {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !hopByHop.includes(name)));
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://gateway");
  if (url.pathname !== prefix && !url.pathname.startsWith(`${prefix}/`)) return refuse(response, 404, "no Route matched with those values");
  const key = request.headers.apikey ?? url.searchParams.get("apikey");
  if (!key) return refuse(response, 401, "No API key found in request");

  const headers = { ...endToEnd(request.headers), host: upstream.host };
  // The hosted gateway lets the key alone stand for the bearer token.
  headers.authorization ??= `Bearer ${key}`;
  if (request.headers["transfer-encoding"]) headers["transfer-encoding"] = request.headers["transfer-encoding"];
  const path = request.url.slice(prefix.length) || "/";
  const options = { host: upstream.hostname, port: upstream.port, method: request.method, path, headers, agent };

  const forwarded = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, endToEnd(answer.headers));
    answer.pipe(response);
    answer.on("error", () => response.destroy());
  });
  forwarded.on("error", () => refuse(response, 503, "The database API is not reachable"));
  response.on("close", () => response.writableFinished || forwarded.destroy());
  request.pipe(forwarded);
});

// Longer than any client keeps an idle connection, so that the gateway is never the one that closes under a request.
server.keepAliveTimeout = 75_000;
server.listen(port, "127.0.0.1");
process.on("SIGTERM", () => { server.close(); server.closeAllConnections(); process.exit(0); });
