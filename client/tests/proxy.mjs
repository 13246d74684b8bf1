// The network between a client and the service: it passes everything on until it is told otherwise.
import { createServer, request } from "node:http";

/**
 * `faults` are taken one for each request: "refuse" before the service has it, "lose" the answer, "cut" it in
 * its middle, a number of ms to hold it back for, or an answer `{ status, headers, body }` that is not the
 * service's. `fault` is asked where there are none left. `requests` are all that came.
 */
export async function startProxy(target) {
  const { hostname, port } = new URL(target);
  const proxy = { requests: [], faults: [], fault: () => undefined, down: false };
  const server = createServer(async (asked, answer) => {
    const chunks = [];
    try {
      for await (const chunk of asked) chunks.push(chunk);
    } catch {
      return;
    }
    const { method, url, headers } = asked;
    proxy.requests.push({ method, url, headers });
    const fault = proxy.down ? "refuse" : (proxy.faults.shift() ?? proxy.fault(asked));
    if (fault === "refuse") return asked.socket.destroy();
    if (fault?.status) return answer.writeHead(fault.status, fault.headers).end(fault.body ?? "");
    const forwarded = request({ hostname, port, method, path: url, headers }, (answered) => {
      if (answered.headers["content-type"] === "text/event-stream") {
        answer.writeHead(answered.statusCode, answered.headers);
        answer.flushHeaders();
        answered.pipe(answer);
        answered.on("error", () => asked.socket.destroy());
        if (fault === "cut") setTimeout(() => asked.socket.destroy(), 30);
        return;
      }
      const body = [];
      answered.on("data", (chunk) => body.push(chunk));
      answered.on("end", async () => {
        const whole = Buffer.concat(body);
        if (typeof fault === "number") await new Promise((resolve) => setTimeout(resolve, fault));
        if (fault === "lose") return asked.socket.destroy();
        answer.writeHead(answered.statusCode, answered.headers);
        if (fault === "cut" && whole.length > 1) {
          return answer.write(whole.subarray(0, whole.length / 2), () => asked.socket.destroy());
        }
        answer.end(whole);
      });
    });
    forwarded.on("error", () => asked.socket.destroy());
    answer.on("close", () => answer.writableEnded || forwarded.destroy());
    forwarded.end(Buffer.concat(chunks));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  proxy.cut = () => server.closeAllConnections();
  proxy.close = () => {
    server.close();
    server.closeAllConnections();
  };
  return proxy;
}
