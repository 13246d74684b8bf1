"use client";

import { useCallback, useState } from "react";
import type { TrashedTask } from "task-api-client";
import { momentText } from "@/lib/dates";
import { sentence, useAnswer, useApp } from "./app";

const SHOWN = 200;

export function Trash() {
  const { api, live, say, tell } = useApp();
  const [isSure, setSure] = useState(false);
  const [erased, setErased] = useState(0);
  const ask = useCallback(
    async (signal: AbortSignal) => {
      const found: TrashedTask[] = [];
      for await (const task of api.trash({ signal })) if (found.push(task) === SHOWN) break;
      return found;
    },
    [api, erased], // asked again after an erasure, which changes no task
  );
  const { answer, problem } = useAnswer(ask);

  async function empty() {
    setSure(false);
    try {
      const { erased } = await api.emptyTrash();
      say({ text: `${erased} erased for good` });
      setErased((times) => times + 1);
    } catch (error) {
      say({ text: sentence(error) });
    }
  }

  return (
    <>
      <div className="head">
        <h1>Trash</h1>
        {answer && answer.length > 0 && (
          <p className="row">
            {isSure ? (
              <>
                <button onClick={() => setSure(false)} autoFocus>
                  Keep them
                </button>
                <button className="danger" onClick={empty}>
                  Erase for good
                </button>
              </>
            ) : (
              <button onClick={() => setSure(true)}>Empty the trash</button>
            )}
          </p>
        )}
      </div>
      {problem && !answer ? (
        <p className="empty">{problem}</p>
      ) : !answer ? (
        <p className="empty">Loading…</p>
      ) : !answer.length ? (
        <p className="empty">The trash is empty. What you delete stays here for a while.</p>
      ) : (
        <ul className="events">
          {answer.map((task) => (
            <li key={task.id}>
              <div>
                <p>
                  <strong>{task.title}</strong>
                </p>
                <p className="muted">Deleted {momentText(task.deleted_at)}</p>
              </div>
              <button onClick={() => tell(`Restored “${task.title}”`, live.restore(task.id, task))} aria-label={`Restore ${task.title}`}>
                Restore
              </button>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
