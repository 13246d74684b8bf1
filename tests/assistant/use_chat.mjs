// The chat that `useChat` is made of, without React around it: one scenario, told as lines of JSON.
const { URL: base, TOKEN: token, CHAT: id, DO: scenario, AI: version } = process.env;
const { AbstractChat, DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } = await import(version);
const headers = { Authorization: `Bearer ${token}` };
const tell = (value) => console.log(JSON.stringify(value));

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => this.messages.push(message);
  popMessage = () => this.messages.pop();
  replaceMessage = (index, message) => (this.messages[index] = message);
  snapshot = (value) => structuredClone(value);
}
class Chat extends AbstractChat {
  constructor(messages = []) {
    const state = new State();
    state.messages = messages;
    super({
      id,
      state,
      transport: new DefaultChatTransport({ api: `${base}/api/chat/stream`, headers }),
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
      onError: (error) => tell({ error: error.message }),
    });
  }
}
const settled = async (chat) => {
  await new Promise((done) => setTimeout(done, 10));
  while (chat.status !== "ready" && chat.status !== "error") await new Promise((done) => setTimeout(done, 10));
};
const shape = (chat) => ({
  status: chat.status,
  messages: chat.messages.map(({ id, role, parts, metadata }) => ({
    role,
    id: role === "user" ? "" : id,
    metadata: metadata?.conversation_id ? "conversation" : "",
    parts: parts.map(({ type, state, text, errorText }) => [type, state, text ?? errorText].filter(Boolean).join(" ")),
  })),
});
const last = (chat) => chat.messages.at(-1);
const waiting = (chat) => last(chat).parts.find((part) => part.state === "approval-requested");

const chat = new Chat();
const scenarios = {
  async talk() {
    await chat.sendMessage({ text: "add milk and eggs" });
    tell(shape(chat));
    await chat.sendMessage({ text: "list" });
    tell(shape(chat));
  },
  async approve(approved = true) {
    await chat.sendMessage({ text: "delete milk" });
    tell(shape(chat));
    await chat.addToolApprovalResponse({ id: waiting(chat).approval.id, approved });
    await settled(chat);
    tell(shape(chat));
  },
  deny: () => scenarios.approve(false),
  async regenerate() {
    await chat.sendMessage({ text: "add milk" });
    await chat.regenerate();
    tell(shape(chat));
  },
  async edit() {
    await chat.sendMessage({ text: "hello" });
    await chat.sendMessage({ text: "hello again", messageId: chat.messages[0].id });
    tell(shape(chat));
  },
  async fail() {
    await chat.sendMessage({ text: "hello" });
    tell(shape(chat));
    await chat.regenerate();
    tell(shape(chat));
  },
  async leave() {
    const sending = chat.sendMessage({ text: "hello" });
    while (!last(chat)?.parts?.some((part) => part.text?.includes("first"))) await new Promise((done) => setTimeout(done, 10));
    await chat.stop(); // closes the connection, and no more
    await sending;
    tell({ left: true });
  },
  async resume() {
    const url = `${base}/api/conversations/${process.env.CONVERSATION}/messages?format=ui`;
    const known = await (await fetch(url, { headers })).json();
    const later = new Chat(known); // as a page that is loaded anew
    const resuming = later.resumeStream();
    tell({ resuming: true });
    await resuming;
    tell(shape(later));
    await later.resumeStream(); // nothing runs: a 204, and no error
    tell({ status: later.status });
    tell(shape(new Chat(await (await fetch(url, { headers })).json())));
  },
};
await scenarios[scenario]();
