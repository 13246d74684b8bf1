"use client";

import { type FormEvent, useCallback, useState } from "react";
import type { Task, TaskChanges } from "task-api-client";
import { dayText, dueFrom, fieldsOf, momentText } from "@/lib/dates";
import { useAnswer, useApp } from "./app";
import { named, shown } from "./conflict";
import { Events } from "./history";

const PATTERNS: Record<string, string> = {
  daily: "Every day",
  "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR": "On weekdays",
  weekly: "Every week",
  "FREQ=WEEKLY;INTERVAL=2": "Every two weeks",
  monthly: "Every month",
  yearly: "Every year",
};

export const repeats = (pattern: string): string => PATTERNS[pattern] ?? pattern;

const PRIORITIES = ["low", "medium", "high"] as const;

/** What a form says, in the words of the service. */
function read(form: HTMLFormElement) {
  const data = new FormData(form);
  const text = (name: string) => String(data.get(name) ?? "").trim();
  const pattern = text("pattern");
  return {
    title: text("title"),
    description: text("description") || null,
    priority: text("priority") as Task["priority"],
    tags: text("tags").split(",").map((tag) => tag.trim()).filter(Boolean),
    ...dueFrom(text("day"), text("time")),
    recurring_pattern: text("day") && pattern ? pattern : null,
  };
}

const differ = (one: unknown, other: unknown) => JSON.stringify(one) !== JSON.stringify(other);

export function TaskEditor({ task, close }: { task: Task; close: () => void }) {
  const { live, tell } = useApp();
  const [base] = useState(task); // as it was when the editing began
  const [plan, setPlan] = useState({ ...fieldsOf(base.due_date), pattern: base.recurring_pattern ?? "" });
  const [hasHistory, setHistory] = useState(false);

  const meanwhile = (["title", "description", "priority", "tags", "due_date", "recurring_pattern"] as const).filter((field) =>
    differ(task[field], base[field]),
  );

  function save(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const now = read(event.currentTarget);
    const changes: TaskChanges = {};
    for (const field of ["title", "description", "priority", "tags"] as const) {
      if (differ(now[field], base[field])) Object.assign(changes, { [field]: now[field] });
    }
    const { day, time } = fieldsOf(base.due_date);
    if (plan.day !== day || plan.time !== time) Object.assign(changes, { due_date: now.due_date, timezone: now.timezone });
    if (now.recurring_pattern !== base.recurring_pattern) {
      Object.assign(changes, now.recurring_pattern ? { recurring: true, recurring_pattern: now.recurring_pattern } : { recurring: false });
    }
    close();
    if (Object.keys(changes).length) tell(`Saved “${now.title}”`, live.update(task.id, changes));
  }

  const set = (part: Partial<typeof plan>) => setPlan((before) => ({ ...before, ...part }));
  return (
    <form className="editor" onSubmit={save} onKeyDown={(event) => event.key === "Escape" && close()} aria-label={`Edit ${base.title}`}>
      <label>
        Title
        <input name="title" defaultValue={base.title} maxLength={200} required autoFocus />
      </label>
      <label>
        Notes
        <textarea name="description" defaultValue={base.description ?? ""} maxLength={1000} rows={2} />
      </label>
      <div className="fields">
        <label>
          Due
          <input name="day" type="date" value={plan.day} onChange={(event) => set({ day: event.target.value })} />
        </label>
        <label>
          At
          <input name="time" type="time" value={plan.time} disabled={!plan.day} onChange={(event) => set({ time: event.target.value })} />
        </label>
        <label>
          Repeats
          <select name="pattern" value={plan.pattern} disabled={!plan.day} onChange={(event) => set({ pattern: event.target.value })}>
            <option value="">Never</option>
            {Object.entries({ ...(plan.pattern && { [plan.pattern]: repeats(plan.pattern) }), ...PATTERNS }).map(([pattern, label]) => (
              <option key={pattern} value={pattern}>
                {label}
              </option>
            ))}
          </select>
        </label>
        <label>
          Priority
          <select name="priority" defaultValue={base.priority}>
            {PRIORITIES.map((priority) => (
              <option key={priority} value={priority}>
                {named(priority)}
              </option>
            ))}
          </select>
        </label>
        <label className="wide">
          Tags, with commas between
          <input name="tags" defaultValue={base.tags.join(", ")} autoComplete="off" />
        </label>
      </div>
      {plan.day && plan.pattern && <Preview {...plan} />}
      {meanwhile.length > 0 && (
        <div className="note" role="status">
          Changed elsewhere meanwhile:{" "}
          {meanwhile.map((field) => `${named(field).toLowerCase()} is now ${shown(task[field])}`).join("; ")}. Saving overwrites what
          you have changed here, too.
        </div>
      )}
      <p className="row">
        <button className="primary">Save</button>
        <button type="button" onClick={close}>
          Cancel
        </button>
        {task.id > 0 && (
          <button type="button" className="quiet" aria-expanded={hasHistory} onClick={() => setHistory(!hasHistory)}>
            History
          </button>
        )}
      </p>
      {hasHistory && <Events taskId={task.id} />}
    </form>
  );
}

function Preview({ day, time, pattern }: { day: string; time: string; pattern: string }) {
  const { api } = useApp();
  const ask = useCallback(
    (signal: AbortSignal) => api.recurrence({ pattern, due_date: dueFrom(day, time).due_date!, timezone: dueFrom(day, time).timezone }, { signal }),
    [api, day, time, pattern],
  );
  const { answer, problem } = useAnswer(ask);
  return (
    <p className="preview muted" aria-live="polite">
      {problem ?? (answer ? `Next: ${answer.slice(0, 5).map((due) => (time ? momentText(due) : dayText(due))).join(" · ")}` : "Next: …")}
    </p>
  );
}
