"use client";

import { memo } from "react";
import type { Task } from "task-api-client";
import { matches } from "task-api-client/live";
import { dueText } from "@/lib/dates";
import { repeats } from "./task-editor";

interface Props {
  task: Task;
  edit: (id: number) => void;
  complete: (id: number) => void;
  remove: (id: number) => void;
}

// The functions are new each time and do the same: only the task says whether there is something to draw.
export const TaskRow = memo(Row, (before, after) => before.task === after.task);

function Row({ task, edit, complete, remove }: Props) {
  const isOverdue = matches(task, { overdue: true });
  return (
    <div className={`task ${task.completed ? "done" : ""}`}>
      <input type="checkbox" aria-label={`Done: ${task.title}`} checked={task.completed} onChange={() => complete(task.id)} />
      <div className="what">
        <button className="title" onClick={() => edit(task.id)}>
          {task.title}
        </button>
        {task.description && <p className="description">{task.description}</p>}
        <p className="meta">
          {task.priority !== "medium" && <span className={`priority ${task.priority}`}>{task.priority === "high" ? "High" : "Low"}</span>}
          {task.due_date && (
            <time className={isOverdue ? "overdue" : ""} dateTime={task.due_date} suppressHydrationWarning>
              {isOverdue && <span className="unseen">Overdue: </span>}
              {dueText(task)}
            </time>
          )}
          {task.recurring_pattern && <span>↻ {repeats(task.recurring_pattern)}</span>}
          {task.tags.map((tag) => (
            <span className="tag" key={tag}>
              {tag}
            </span>
          ))}
        </p>
      </div>
      <button className="quiet delete" onClick={() => remove(task.id)} aria-label={`Delete ${task.title}`}>
        <svg viewBox="0 0 20 20" aria-hidden="true">
          <path d="M4 6h12M8 6V4h4v2M6 6l.7 10h6.600L14 6" />
        </svg>
      </button>
    </div>
  );
}
