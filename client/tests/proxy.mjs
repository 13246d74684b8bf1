// The network between a client and the service: it passes everything on until it is told otherwise.
import { createServer, request } from "node:http";

const LATE = 80; // ms

/**
 * `faults` are taken one for each request, and `fault` is asked where there are none left:
 *
 * - "refuse" it before the service has it;
 * - "lose" its answer, or "cut" it in its middle; a stream is cut a moment after it has begun;
 * - a number of ms to hold the answer back for, or "hang": it never comes;
 * - "late": nobody answers, and the service has the request after what is sent next;
 * - "twice": the service has it twice at once;
 * - an answer `{ status, headers, body }` that is not the service's.
 *
 * `requests` are all that came, `late` is the number of those that are still under way without anybody waiting.
 */
export async function startProxy(target) {
  const { hostname, port } = new URL(target);
  const proxy = { requests: [], faults: [], fault: () => undefined, down: false, late: 0 };
  const server = createServer(async (asked, answer) => {
    const chunks = [];
    try {
      for await (const chunk of asked) chunks.push(chunk);
    } catch {
      return;
    }
    const { method, url, headers } = asked;
    proxy.requests.push({ method, url, headers });
    const cut = () => asked.socket.destroy();
    const fault = proxy.down ? "refuse" : (proxy.faults.shift() ?? proxy.fault(asked));
    if (fault === "refuse") return cut();
    if (fault?.status) return answer.writeHead(fault.status, fault.headers).end(fault.body ?? "");
    const pass = (hear) => {
      const forwarded = request({ hostname, port, method, path: url, headers, agent: false }, hear);
      forwarded.end(Buffer.concat(chunks));
      return forwarded;
    };
    const unheard = async (ms) => {
      proxy.late++;
      await new Promise((resolve) => setTimeout(resolve, ms));
      await new Promise((resolve) => {
        pass((answered) => answered.resume().on("close", resolve)).on("error", resolve);
      });
      proxy.late--;
    };
    const isStream = url.includes("/events");
    if (fault === "late" && !isStream) void unheard(LATE);
    if (fault === "late") return cut();
    if (fault === "twice" && !isStream) void unheard(0);
    const forwarded = pass((answered) => {
      if (answered.headers["content-type"] === "text/event-stream") {
        answer.writeHead(answered.statusCode, answered.headers);
        answer.flushHeaders();
        answered.pipe(answer);
        answered.on("error", cut);
        if (fault === "cut") setTimeout(cut, 30);
        return;
      }
      const body = [];
      answered.on("data", (chunk) => body.push(chunk));
      answered.on("end", async () => {
        const whole = Buffer.concat(body);
        if (typeof fault === "number") await new Promise((resolve) => setTimeout(resolve, fault));
        if (fault === "lose") return cut();
        if (fault === "hang") return;
        answer.writeHead(answered.statusCode, answered.headers);
        if (fault === "cut" && whole.length > 1) return answer.write(whole.subarray(0, whole.length / 2), cut);
        answer.end(whole);
      });
      answered.on("error", cut);
    });
    forwarded.on("error", cut);
    answer.on("close", () => answer.writableEnded || forwarded.destroy());
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
