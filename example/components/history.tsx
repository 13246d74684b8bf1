"use client";

import { useCallback, useState } from "react";
import type { TaskEvent } from "task-api-client";
import { momentText } from "@/lib/dates";
import { useAnswer, useApp } from "./app";
import { named, shown } from "./conflict";

const PAGE = 50;

export function History() {
  return (
    <>
      <div className="head">
        <h1>History</h1>
        <p className="muted">Everything can be taken back, and that too.</p>
      </div>
      <Events />
    </>
  );
}

/** What became of one task, or of all, newest first. */
export function Events({ taskId }: { taskId?: number }) {
  const { api, live, takeBack } = useApp();
  const [wanted, setWanted] = useState(PAGE);
  const ask = useCallback(
    async (signal: AbortSignal) => {
      const events: TaskEvent[] = [];
      for await (const event of api.history(taskId, { signal })) if (events.push(event) > wanted) break;
      return events;
    },
    [api, taskId, wanted],
  );
  const { answer, problem } = useAnswer(ask);

  if (problem && !answer) return <p className="empty">{problem}</p>;
  if (!answer) return <p className="empty">Loading…</p>;
  if (!answer.length) return <p className="empty">Nothing has happened yet.</p>;
  return (
    <>
      <ol className="events">
        {answer.slice(0, wanted).map((event) => (
          <li key={`${event.change} ${event.task_id}`}>
            <div>
              <p>
                <strong>{titleOf(event, live.get(event.task_id)?.title)}</strong> {event.kind}
              </p>
              {event.kind === "updated" && (
                <ul className="differences">
                  {Object.entries(event.changes ?? {}).filter(([field]) => field !== "completed_at").map(([field, { from, to }]) => (
                    <li key={field}>
                      {named(field)}: <del>{shown(from)}</del> → <ins>{shown(to)}</ins>
                    </li>
                  ))}
                </ul>
              )}
              <p className="muted">
                {momentText(event.at)}
                {event.by !== "api" && ` · by ${event.by}`}
              </p>
            </div>
            <button type="button" onClick={() => takeBack(event.change)} aria-label={`Undo: ${titleOf(event)} ${event.kind}`}>
              Undo
            </button>
          </li>
        ))}
      </ol>
      {answer.length > wanted && (
        <button type="button" onClick={() => setWanted(wanted + PAGE)}>
          Earlier
        </button>
      )}
    </>
  );
}

function titleOf({ changes, task_id }: TaskEvent, now?: string): string {
  const title = changes?.title;
  return String(title?.to ?? title?.from ?? now ?? `Task ${task_id}`);
}
