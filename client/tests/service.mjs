// The service that the tests are run against, and users of it. Each test takes one of its own.
import { createHmac } from "node:crypto";
import { basename } from "node:path";

const { API, SECRET, FIRST = "0" } = process.env;
export const api = API;

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token as a frontend would send it. */
export function tokenFor(user, { life = 900, age = 0 } = {}) {
  const iat = Math.floor(Date.now() / 1000) - age;
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: user, iat, exp: iat + life })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

const file = basename(process.argv[1], ".test.mjs");
let next = Number(FIRST);

/** A user whom nobody else takes: each file of tests has its own. */
export const newUser = () => `${file}-${next++}`;
