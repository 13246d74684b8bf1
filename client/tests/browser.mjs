// What a browser has and Node 20 has not: locks of a name that are held one after the other.
export function newLocks() {
  const tails = new Map();
  return {
    async request(name, { signal }, held) {
      const before = tails.get(name) ?? Promise.resolve();
      let release;
      tails.set(name, before.then(() => new Promise((resolve) => (release = resolve))));
      const given = new Promise((resolve, reject) => {
        before.then(resolve);
        signal.addEventListener("abort", () => reject(signal.reason));
      });
      try {
        signal.throwIfAborted();
        await given;
        await held();
      } finally {
        before.then(() => release());
      }
    },
  };
}

/** Wait until something is so; `what` says what it was, where it is not. */
export async function until(isSo, what, ms = 30_000) {
  const end = Date.now() + ms;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`it was not so: ${typeof what === "function" ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
