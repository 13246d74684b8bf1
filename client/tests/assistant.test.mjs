// What the client promises of the assistant, against the real service; it has no model here.
import assert from "node:assert/strict";
import { test } from "node:test";
import { assistantApi, conversationOf } from "../dist/assistant.js";
import { TaskApiError, tasksApi } from "../dist/index.js";
import { startProxy } from "./proxy.mjs";
import { api as target, newUser, tokenFor } from "./service.mjs";

const message = (role, id) => ({ id, role, parts: [{ type: "text", text: "hello" }] });

test("of a chat its last message is sent, with its conversation and the user's zone", () => {
  const { transport } = assistantApi(tasksApi({ base: "http://localhost:8000/", token: "t" }));
  assert.equal(transport.api, "http://localhost:8000/api/chat/stream");
  const answer = { ...message("assistant", "msg-1"), metadata: { conversation_id: 7 } };
  const messages = [message("user", "one"), answer, message("user", "two")];
  assert.deepEqual(transport.prepareSendMessagesRequest({ id: "chat", messages, trigger: "submit-message" }).body, {
    id: "chat",
    conversation_id: 7,
    messages: messages.slice(-1),
    trigger: "submit-message",
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  });
  assert.equal(conversationOf(messages), 7);
  assert.equal(conversationOf(messages.slice(2)), undefined);
});

test("what is sent has the token, which is renewed; what is refused is an error with a code", async () => {
  const proxy = await startProxy(target);
  const user = newUser();
  let fetched = 0;
  const token = async () => (fetched++ ? tokenFor(user) : "no token");
  const { transport, ...assistant } = assistantApi(tasksApi({ base: proxy.url, token }));
  const { body } = transport.prepareSendMessagesRequest({ id: "chat", messages: [message("user", "one")], trigger: "submit-message" });
  await assert.rejects(
    transport.fetch(transport.api, { method: "POST", body: JSON.stringify(body) }),
    (error) => error instanceof TaskApiError && error.code === "assistant_off" && /ASSISTANT_MODEL/.test(error.message),
  );
  assert.equal(fetched, 2);
  await assert.rejects(transport.fetch(`${transport.api}/chat/stream`), { code: "assistant_off" });
  assert.deepEqual(await assistant.conversations(), []);
  await assert.rejects(assistant.messages({ id: 1 }), { code: "conversation_not_found" });
  await assert.rejects(assistant.stop({ id: 1 }), { code: "assistant_off" });
  await assert.rejects(assistant.remove({ id: 1 }), { code: "conversation_not_found" });
  assert.deepEqual(
    proxy.requests.map(({ method, url }) => `${method} ${url}`),
    [
      "POST /api/chat/stream",
      "POST /api/chat/stream",
      "GET /api/chat/stream/chat/stream",
      "GET /api/conversations",
      "GET /api/conversations/1/messages?format=ui",
      "POST /api/conversations/1/stop",
      "DELETE /api/conversations/1",
    ],
  );
  proxy.close();
});
