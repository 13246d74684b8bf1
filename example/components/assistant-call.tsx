"use client";

import { useState } from "react";
import { useLiveTasks, useTask } from "task-api-client/react";
import { dueText } from "@/lib/dates";
import { useApp } from "./app";

/** A task as the assistant's tools name it. */
interface Brief {
  id: number;
  title: string;
}

/** What tools answer: tasks, or how many; what was changed, or the dates of a series. */
interface Output {
  tasks?: Brief[] | number;
  total?: number;
  change?: number | null;
  dates?: string[];
}

const DID: Record<string, string> = {
  add_task: "Added",
  list_tasks: "Found",
  update_task: "Changed",
  complete_task: "Completed",
  delete_task: "Deleted",
  undo_change: "Took back",
  preview_recurrence: "Dates",
};
const SHOWN = 8; // of what was found

const many = (count: number) => `${count} ${count === 1 ? "task" : "tasks"}`;

interface CallProps {
  tool: string;
  state: string;
  output: unknown;
  problem: string | undefined;
  /** Whether nothing more will come of it. */
  isOver: boolean;
}

/** What a call of the assistant did, with the tasks as they are now. */
export function Call({ tool, state, output, problem, isOver }: CallProps) {
  const { takeBack } = useApp();
  const [isUndone, setUndone] = useState(false);
  const { tasks = [], total, change, dates } = (output ?? {}) as Output;
  const did = DID[tool] ?? tool;
  const undo = async (number: number) => setUndone(await takeBack(number));
  if (state === "output-error") return <p className="call problem">Not done: {problem}</p>;
  if (state === "output-denied") return <p className="call muted">Not done: you said no.</p>;
  if (state !== "output-available") return <p className="call muted">{isOver ? "Cut off." : "Working…"}</p>;
  const listed = typeof tasks === "number" ? [] : tasks;
  const count = typeof tasks === "number" ? tasks : (total ?? listed.length);
  return (
    <div className="call">
      <div className="row">
        <strong>{dates ? did : `${did} ${many(count)}`}</strong>
        {change && (
          <button type="button" disabled={isUndone} aria-label={`Undo: ${did} ${many(count)}`} onClick={() => undo(change)}>
            {isUndone ? "Undone" : "Undo"}
          </button>
        )}
      </div>
      {listed.length > 0 && (
        <ul>
          {listed.slice(0, SHOWN).map((task) => (
            <Named key={task.id} {...task} />
          ))}
        </ul>
      )}
      {count > SHOWN && listed.length > 0 && <p className="muted">and {count - Math.min(SHOWN, listed.length)} more</p>}
      {dates && <p className="muted">{dates.join(" · ")}</p>}
    </div>
  );
}

/** A task of a card, which follows what becomes of it. */
function Named({ id, title }: Brief) {
  const task = useTask(id);
  return (
    <li className={task ? (task.completed ? "done" : "") : "gone"}>
      <span>{task?.title ?? title}</span>
      {task?.due_date && <span className="muted">{dueText(task)}</span>}
    </li>
  );
}

/** What the assistant may only do once the user has said so. */
export function Approval({ tool, input, decide }: { tool: string; input: unknown; decide: (approved: boolean) => void }) {
  const live = useLiveTasks();
  const { ids = [], change } = (input ?? {}) as { ids?: number[]; change?: number };
  const titles = ids.map((id) => live.get(id)?.title ?? `task ${id}`);
  return (
    <div className="call asks" role="group" aria-label="The assistant asks">
      <strong>{tool === "undo_change" ? `Take back change ${change}?` : `Delete ${many(ids.length)}?`}</strong>
      {titles.length > 0 && (
        <ul>
          {titles.map((title, index) => (
            <li key={ids[index]}>{title}</li>
          ))}
        </ul>
      )}
      <div className="row">
        <button type="button" onClick={() => decide(false)}>
          {tool === "undo_change" ? "Leave it" : "Keep"}
        </button>
        <button type="button" className="danger" onClick={() => decide(true)}>
          {tool === "undo_change" ? "Take it back" : "Delete"}
        </button>
      </div>
    </div>
  );
}
