"use client";

import { createAuthClient } from "better-auth/react";
import Link from "next/link";
import { usePathname } from "next/navigation";
import { type ReactNode, useEffect, useRef } from "react";
import { Conflict } from "./conflict";
import { useTasks } from "./tasks";

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
  ["?", "this list"],
] as const;

const { signOut } = createAuthClient();

export function Shell({ name, children }: { name: string; children: ReactNode }) {
  const { live, status, toast, say } = useTasks();
  const path = usePathname();
  const help = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      if (event.key === "u" && toast?.undo) toast.undo();
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
          <button className="quiet" onClick={() => help.current?.showModal()} aria-label="Keyboard shortcuts">
            ?
          </button>
          <button className="quiet" onClick={leave}>
            Sign out
          </button>
        </div>
      </header>
      <Banner />
      <main className="page" id="main" tabIndex={-1}>
        {children}
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
  const { status, pending, wasDown } = useTasks();
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
      : status === "loading" && wasDown
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
