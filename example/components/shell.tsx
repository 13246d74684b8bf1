"use client";

import { createAuthClient } from "better-auth/react";
import dynamic from "next/dynamic";
import Link from "next/link";
import { usePathname } from "next/navigation";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { useConnection } from "task-api-client/react";
import { useApp } from "./app";
import { Conflict } from "./conflict";

const Assistant = dynamic(() => import("./assistant"), { ssr: false }); // loaded once it is opened

const PAGES = [
  ["/", "Tasks"],
  ["/trash", "Trash"],
  ["/history", "History"],
  ["/statistics", "Statistics"],
  ["/files", "Files"],
] as const;

const KEYS = [
  ["n", "new task"],
  ["/", "search"],
  ["j k", "next, previous task"],
  ["e", "edit"],
  ["x", "complete or reopen"],
  ["d", "delete"],
  ["u", "undo what was done last"],
  ["a", "the assistant"],
  ["?", "this list"],
] as const;

const { signOut } = createAuthClient();

export function Shell({ name, children }: { name: string; children: ReactNode }) {
  const { live, toast, say } = useApp();
  const { status } = useConnection();
  const path = usePathname();
  const help = useRef<HTMLDialogElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const [assistant, setAssistant] = useState<"closed" | "kept" | "opened">("closed"); // kept over a reload, or opened just now
  const hasAssistant = assistant !== "closed";

  function showAssistant(isShown: boolean) {
    setAssistant(isShown ? "opened" : "closed");
    localStorage.setItem("assistant", isShown ? "kept" : "closed");
    if (isShown) document.querySelector<HTMLElement>(".ask textarea")?.focus();
    else opener.current?.focus();
  }

  useEffect(() => setAssistant(localStorage.getItem("assistant") === "kept" ? "kept" : "closed"), []);

  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      if (event.key === "u" && toast?.undo) toast.undo();
      else if (event.key === "a") showAssistant(true);
      else if (event.key === "?") help.current?.showModal();
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [toast]);

  async function leave() {
    await live.signOut(); // other windows, and the copy in this browser
    await signOut();
    window.location.assign("/sign-in");
  }

  return (
    <>
      <a className="skip" href="#main">
        Skip to the tasks
      </a>
      <header>
        <p className="brand">Tasks</p>
        <nav aria-label="Pages">
          {PAGES.map(([href, label]) => (
            <Link key={href} href={href} aria-current={path === href ? "page" : undefined}>
              {label}
            </Link>
          ))}
        </nav>
        <div className="who">
          <span className={`state ${status}`} title={`This page is ${status.replace("_", " ")}`}>
            {status === "live" ? "Live" : status === "loading" ? "Loading" : status === "polling" ? "Up to date" : "Offline"}
          </span>
          <span className="name">{name}</span>
          <button
            ref={opener}
            className="quiet"
            aria-expanded={hasAssistant}
            aria-label="Assistant"
            title="Assistant"
            onClick={() => showAssistant(!hasAssistant)}
          >
            <svg viewBox="0 0 20 20" aria-hidden="true">
              <path d="M3 5.5A1.5 1.5 0 0 1 4.5 4h11A1.5 1.5 0 0 1 17 5.5v7a1.5 1.5 0 0 1-1.5 1.5H9l-4 3v-3h-.5A1.5 1.5 0 0 1 3 12.5z" />
            </svg>
            <span>Assistant</span>
          </button>
          <button className="quiet shortcuts" onClick={() => help.current?.showModal()} aria-label="Keyboard shortcuts">
            ?
          </button>
          <button className="quiet" onClick={leave}>
            Sign out
          </button>
        </div>
      </header>
      <Banner />
      <main id="main" tabIndex={-1} className={hasAssistant ? "beside" : undefined}>
        <div className="page">{children}</div>
        {hasAssistant && <Assistant isWanted={assistant === "opened"} close={() => showAssistant(false)} />}
      </main>
      <Conflict />
      <div className="toasts" role="status">
        {toast && (
          <div className="toast">
            <span>{toast.text}</span>
            {toast.undo && <button onClick={toast.undo}>Undo</button>}
            <button onClick={() => say(undefined)} aria-label="Dismiss">
              ×
            </button>
          </div>
        )}
      </div>
      <dialog ref={help} aria-labelledby="keys">
        <h2 id="keys">Keys</h2>
        <dl className="keys">
          {KEYS.map(([key, does]) => (
            <div key={key}>
              <dt>
                {key.split(" ").map((one) => (
                  <kbd key={one}>{one}</kbd>
                ))}
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
        <form method="dialog">
          <button className="primary">Close</button>
        </form>
      </dialog>
    </>
  );
}

function Banner() {
  const { initial } = useApp();
  const { status, pending } = useConnection();
  const waiting = pending ? ` ${pending} ${pending === 1 ? "change is" : "changes are"} waiting.` : "";
  if (status === "signed_out") {
    return (
      <p className="banner" role="status">
        You are signed out. <a href="/sign-in">Sign in</a> to see your tasks.
      </p>
    );
  }
  const text =
    status === "offline"
      ? `The task service does not answer. You can go on: what you change is kept here and sent later.${waiting}`
      : status === "loading" && !initial
        ? "The task service does not answer. Looking for what this browser has."
        : "";
  return (
    <p className="banner" role="status" hidden={!text}>
      {text}
    </p>
  );
}

/** Whether a key is meant for a field, or for the browser. */
export function isTyping(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return true;
  return event.target instanceof HTMLElement && event.target.matches("input:not([type=checkbox]), select, textarea");
}
