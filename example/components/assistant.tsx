"use client";

import { useChat } from "@ai-sdk/react";
import {
  DefaultChatTransport,
  generateId,
  getToolName,
  isToolUIPart,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  type UIMessage,
} from "ai";
import { type FormEvent, type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";
import { TaskApiError } from "task-api-client";
import { type Conversation, conversationOf } from "task-api-client/assistant";
import { Approval, Call } from "./assistant-call";
import { sentence, useApp } from "./app";

const STAND_IN = "stand-in";
const TRY = ["add milk and eggs", "list", "delete milk"]; // what the stand-in understands, and models do

interface Chat {
  id: string;
  messages: UIMessage[];
  /** Whether whoever opens it wants to write. */
  hasFocus: boolean;
}

/** The panel: which conversation it is, and the conversation itself. */
export default function Assistant({ isWanted, close }: { isWanted: boolean; close: () => void }) {
  const { assistant, model } = useApp();
  const [conversations, setConversations] = useState<Conversation[]>([]);
  const [chat, setChat] = useState<Chat>();
  const [problem, setProblem] = useState("");

  const begin = (hasFocus: boolean) => setChat({ id: generateId(), messages: [], hasFocus });

  async function show(conversation: Conversation | undefined) {
    if (!conversation) return begin(isWanted);
    const messages = await assistant.messages<UIMessage>(conversation);
    setChat({ id: chatOf(conversation), messages, hasFocus: isWanted });
  }

  const read = async () => {
    const found = await assistant.conversations({ limit: 30 });
    setConversations(found);
    return found;
  };

  const fail = (error: unknown) => setProblem(sentence(error));
  const choose = (id: string) => void show(conversations.find((one) => chatOf(one) === id)).catch(fail);

  useEffect(() => {
    read()
      .then(([last]) => show(last)) // it goes on where it was, on any device
      .catch(fail);
  }, []);

  return (
    <section className="assistant" aria-label="Assistant" onKeyDown={(event) => event.key === "Escape" && close()}>
      <div className="bar">
        <h1>Assistant</h1>
        {conversations.length > 0 && chat && (
          <select
            aria-label="Conversation"
            value={chat.id}
            onChange={(event) => choose(event.target.value)}
          >
            {!conversations.some((one) => chatOf(one) === chat.id) && <option value={chat.id}>New conversation</option>}
            {conversations.map((one) => (
              <option key={one.id} value={chatOf(one)}>
                {one.title}
              </option>
            ))}
          </select>
        )}
        <button className="quiet icon" onClick={() => begin(true)} aria-label="New conversation" title="New conversation">
          +
        </button>
        <button className="quiet icon" onClick={close} aria-label="Close the assistant">
          ×
        </button>
      </div>
      {model === STAND_IN && (
        <p className="hint">A stand-in for a model answers: try “add milk and eggs”, “list”, “delete milk” or “count”.</p>
      )}
      {chat ? <Talk key={chat.id} {...chat} heard={() => void read().catch(() => undefined)} /> : <p className="empty">{problem || "Loading…"}</p>}
    </section>
  );
}

const chatOf = ({ id, client_id }: Conversation): string => client_id ?? String(id);

function Talk({ id, messages: before, hasFocus, heard }: Chat & { heard: () => void }) {
  const { assistant } = useApp();
  const transport = useMemo(() => new DefaultChatTransport(assistant.transport), [assistant]);
  const { messages, status, error, sendMessage, regenerate, stop, clearError, addToolApprovalResponse } = useChat({
    id,
    messages: before,
    transport,
    resume: true, // an answer goes on without this page, and is read on from its beginning
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    onFinish: heard,
    throttle: 50,
  });
  const input = useRef<HTMLTextAreaElement>(null);
  const isBusy = status === "submitted" || status === "streaming";
  const conversation = conversationOf(messages);
  const isOff = error instanceof TaskApiError && error.code === "assistant_off";

  useEffect(() => {
    if (hasFocus) input.current?.focus();
  }, []);

  function say(text: string) {
    if (!text.trim() || isBusy) return;
    clearError();
    void sendMessage({ text });
  }

  function submit(event: FormEvent | KeyboardEvent) {
    event.preventDefault();
    if (!input.current || isBusy) return;
    say(input.current.value);
    input.current.value = "";
  }

  async function end() {
    if (conversation) await assistant.stop({ id: conversation }).catch(() => undefined);
    await stop(); // where the service could not be told
  }

  function decide(approval: string, approved: boolean) {
    void addToolApprovalResponse({ id: approval, approved });
    input.current?.focus();
  }

  return (
    <>
      <div className="talk" tabIndex={0} role="group" aria-label="What was said">
        <div role="log" aria-label="Answers">
          {messages.map(({ id, role, parts }) => (
            <article key={id} className={role === "user" ? "question" : "answer"} aria-label={role === "user" ? "You" : "Assistant"}>
              {parts.map((part, index) => {
                if (part.type === "text") return <p key={index}>{part.text}</p>;
                if (!isToolUIPart(part)) return null;
                const { toolCallId, state, input, output, errorText } = part;
                const tool = getToolName(part);
                if (state === "approval-requested") {
                  return <Approval key={toolCallId} tool={tool} input={input} decide={(yes) => decide(part.approval.id, yes)} />;
                }
                const isOver = !isBusy && state !== "approval-responded";
                return <Call key={toolCallId} tool={tool} state={state} output={output} problem={errorText} isOver={isOver} />;
              })}
            </article>
          ))}
          {status === "submitted" && <p className="thinking">Thinking…</p>}
          {error && (
            <div className="note" role="alert">
              {error instanceof TaskApiError ? sentence(error) : error.name === "TypeError" ? "The connection broke." : error.message}
              {!isOff && messages.length > 0 && (
                <button type="button" onClick={() => void regenerate()}>
                  Try again
                </button>
              )}
            </div>
          )}
          {!messages.length && !error && (
            <div className="start">
              <p>It sees your tasks and nobody else’s, and asks before it deletes. What it does can be undone.</p>
              {TRY.map((text) => (
                <button key={text} type="button" onClick={() => say(text)}>
                  {text}
                </button>
              ))}
            </div>
          )}
        </div>
      </div>
      <form className="ask" onSubmit={submit}>
        <textarea
          ref={input}
          rows={1}
          aria-label="Message to the assistant"
          placeholder="What shall I do?"
          disabled={isOff}
          onKeyDown={(event) => event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing && submit(event)}
        />
        {isBusy ? (
          <button type="button" onClick={end} disabled={!conversation}>
            Stop
          </button>
        ) : (
          <button className="primary" disabled={isOff}>
            Send
          </button>
        )}
      </form>
    </>
  );
}
