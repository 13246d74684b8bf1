import type { CallOptions } from "./http.js";
import type { TasksApi } from "./tasks.js";
import type { Conversation, ConversationMessage } from "./types.js";

export type { Conversation, ConversationMessage };

/** What of a chat's messages is asked with. */
interface Said {
  id: string;
  messages: readonly { metadata?: unknown }[];
  trigger: string;
}

/**
 * The assistant of whoever the token names: for `useChat` of the AI SDK, and what that has no calls for.
 *
 * Every call takes `{ signal }`, and throws a TaskApiError or what the signal was aborted with.
 */
export function assistantApi({ http }: TasksApi) {
  const root = `${http.base}/api`;
  const path = ({ id }: { id: number }, rest = "") => `/conversations/${id}${rest}`;
  return {
    /**
     * What `new DefaultChatTransport()` takes. Of a chat its last message is sent, and the user's time zone; what
     * is refused is a TaskApiError in `error`, and what had no answer is sent again: that does nothing twice.
     */
    transport: {
      api: `${root}/chat/stream`,
      fetch: (url: RequestInfo | URL, { method = "GET", body, signal }: RequestInit = {}): Promise<Response> =>
        http.open(
          String(url).slice(root.length),
          { signal: signal ?? undefined, body: body ?? undefined, headers: { "Content-Type": body ? "application/json" : undefined } },
          method,
        ),
      prepareSendMessagesRequest: ({ id, messages, trigger }: Said) => ({
        body: {
          id,
          conversation_id: conversationOf(messages),
          messages: messages.slice(-1),
          trigger,
          timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
        },
      }),
    },
    /** The conversations, up to 200, the last used first. */
    conversations: async ({ limit, ...call }: CallOptions & { limit?: number } = {}) =>
      (await http.send<Conversation[]>("GET", "/conversations", { ...call, query: { limit } })).data,
    /** The last messages of a conversation, as `useChat` begins with them: `messages<UIMessage>(conversation)`. */
    messages: async <Message = ConversationMessage>(conversation: { id: number }, call: CallOptions = {}) =>
      (await http.send<Message[]>("GET", path(conversation, "/messages"), { ...call, query: { format: "ui" } })).data,
    /** End the answer that is being made: `stop()` of `useChat` only stops listening. */
    stop: async (conversation: { id: number }, call: CallOptions = {}): Promise<void> => {
      await http.send("POST", path(conversation, "/stop"), call);
    },
    /** Delete a conversation; what was done to tasks stays. */
    remove: async (conversation: { id: number }, call: CallOptions = {}): Promise<void> => {
      await http.send("DELETE", path(conversation), call);
    },
  };
}

/** The conversation that messages belong to: the service says so with each answer. */
export function conversationOf(messages: readonly { metadata?: unknown }[]): number | undefined {
  for (const { metadata } of [...messages].reverse()) {
    const { conversation_id: id } = (metadata ?? {}) as { conversation_id?: number };
    if (id !== undefined) return id;
  }
  return undefined;
}
