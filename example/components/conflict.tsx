"use client";

import { useEffect, useRef } from "react";
import { useApp } from "./app";

/** Both values of what two people have changed, and who decides is the user. */
export function Conflict() {
  const { live, refused, setRefused } = useApp();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (refused && !dialog.current?.open) dialog.current?.showModal();
  }, [refused]);

  function keepMine() {
    if (!refused) return;
    const mine = Object.entries(refused.fields).map(([field, { mine }]) => [field, mine]);
    live.update(refused.task.id, Object.fromEntries(mine));
  }

  return (
    <dialog ref={dialog} aria-labelledby="conflict" onClose={() => setRefused(undefined)}>
      {refused && (
        <form method="dialog">
          <h2 id="conflict">Changed in two places</h2>
          <p>“{refused.task.title}” was changed elsewhere before your change arrived.</p>
          <table>
            <thead>
              <tr>
                <td />
                <th scope="col">Yours</th>
                <th scope="col">Theirs</th>
              </tr>
            </thead>
            <tbody>
              {Object.entries(refused.fields).map(([field, { mine, theirs }]) => (
                <tr key={field}>
                  <th scope="row">{named(field)}</th>
                  <td>{shown(mine)}</td>
                  <td>{shown(theirs)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <p className="row end">
            <button>Keep theirs</button>
            <button className="primary" onClick={keepMine}>
              Keep mine
            </button>
          </p>
        </form>
      )}
    </dialog>
  );
}

/** The name of a field, for people. */
export function named(field: string): string {
  const text = field.replaceAll("_", " ");
  return text[0]?.toUpperCase() + text.slice(1);
}

/** A value of a task, for people. */
export function shown(value: unknown): string {
  if (value === null || value === undefined || value === "") return "nothing";
  if (Array.isArray(value)) return value.length ? value.join(", ") : "nothing";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}
