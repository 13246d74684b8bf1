import { TaskApiError } from "./errors.js";
import { type Http, sleep } from "./http.js";

/** Something may have changed: ask for the changes. */
export interface Notice {
  /** `ready`: the stream is open, and what changes is told from now on. `poll`: there is no stream. */
  type: "ready" | "change" | "poll";
  /** The cursor of all there is. */
  cursor?: string;
  /** Whether a copy has to be begun anew. */
  expired?: boolean;
}

export interface WatchOptions {
  /** A cursor of the changes: what has changed since is told at once. */
  since?: string | undefined;
  signal?: AbortSignal | undefined;
  /** How often to tell `poll`, in ms, where the service has no stream; 30 seconds by default. */
  poll?: number;
}

const SILENCE = 50_000; // ms; the service says something every 20 seconds
const ABSENT = new Set([404, 405, 422]); // of a service that has no stream yet, `events` is a task's id
const RETURN = 2000; // ms until the next stream, unless the service says so

/**
 * Be told of changes until `signal` ends it, over any number of streams: they end by themselves, and break.
 *
 * Throws a TaskApiError where no stream can be had: signed out, another user.
 */
export async function* watch(http: Http, options: WatchOptions & { as?: string | undefined }): AsyncGenerator<Notice> {
  const { signal, poll = 30_000 } = options;
  let last = options.since;
  let pause = RETURN;
  let failures = 0;
  while (!signal?.aborted) {
    const controller = new AbortController();
    const stop = () => controller.abort();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const headers = { Accept: "text/event-stream", "Last-Event-ID": last };
      const response = await http.open("/tasks/events", { headers, signal: controller.signal, as: options.as });
      for await (const event of parse(response, stop)) {
        failures = 0;
        if (event.retry !== undefined) pause = event.retry;
        if (event.id !== undefined) last = event.id;
        if (event.type === "ready" || event.type === "change") {
          const expired = event.data !== "" && (JSON.parse(event.data) as { expired?: boolean }).expired === true;
          yield { type: event.type, ...(last === undefined ? {} : { cursor: last }), expired };
        }
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof TaskApiError) {
        if (ABSENT.has(error.status)) {
          yield { type: "poll" };
          await sleep(poll, signal).catch(() => undefined);
          continue;
        }
        if (error.status === 401 || error.status === 403) throw error;
      }
      failures++;
    } finally {
      controller.abort();
      signal?.removeEventListener("abort", stop);
    }
    await sleep(pause * Math.min(2 ** failures, 16) * (1 + Math.random() / 2), signal).catch(() => undefined);
  }
}

interface ServerEvent {
  type: string;
  data: string;
  id?: string | undefined;
  retry?: number | undefined;
}

/** The events of a stream; `stop` ends one of which nothing is heard any more. */
async function* parse(response: Response, stop: () => void): AsyncGenerator<ServerEvent> {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let event: ServerEvent = { type: "message", data: "" };
  for (;;) {
    const timer = setTimeout(stop, SILENCE);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        yield event;
        event = { type: "message", data: "" };
        continue;
      }
      const [, name, content = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
      if (name === "event") event.type = content;
      else if (name === "data") event.data += content;
      else if (name === "id") event.id = content;
      else if (name === "retry" && /^\d+$/.test(content)) event.retry = Number(content);
    }
  }
}
