import type { Action, State } from "./store.js";
import type { NewTask, Task } from "./types.js";

/** A task as it will be, as far as can be said here. */
function made(id: number, user: string, fields: NewTask, at: number): Task {
  const now = new Date(at).toISOString();
  return {
    id,
    user_id: user,
    title: fields.title.trim(),
    description: fields.description ?? null,
    completed: fields.completed ?? false,
    completed_at: fields.completed ? now : null,
    priority: fields.priority ?? "medium",
    tags: fields.tags ?? [],
    timezone: fields.timezone ?? "UTC",
    recurring_pattern: fields.recurring_pattern ?? null,
    recur_from: fields.recur_from ?? "due",
    next_task_id: null,
    version: 0,
    created_at: now,
    updated_at: now,
    due_date: fields.due_date || null,
    recurring: Boolean(fields.recurring_pattern),
  };
}

function changed(task: Task, action: Action): Task {
  const now = new Date(action.at).toISOString();
  if (action.kind === "complete") {
    const completed = action.completed ?? true;
    return completed === task.completed ? task : { ...task, completed, completed_at: completed ? now : null, updated_at: now };
  }
  const { series: _, ...fields } = (action.fields ?? {}) as Partial<Task> & { series?: string };
  const named = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
  const next: Task = { ...task, ...(named as Partial<Task>), updated_at: now };
  if (fields.recurring === false) next.recurring_pattern = null;
  return {
    ...next,
    title: next.title.trim(),
    priority: next.priority ?? "medium",
    tags: next.tags ?? [],
    timezone: next.timezone ?? "UTC",
    recur_from: next.recur_from ?? "due",
    due_date: next.due_date || null,
    recurring: next.recurring_pattern !== null,
    completed_at: next.completed ? (next.completed_at ?? now) : null,
  };
}

/** The id that a task has now. */
export const current = (state: State, id: number): number => state.ids[id] ?? id;

/** The tasks with the changes that were not answered yet. */
export function overlaid(tasks: ReadonlyMap<number, Task>, state: State, queue: Action[]): ReadonlyMap<number, Task> {
  if (!queue.length) return tasks;
  const shown = new Map(tasks);
  // What is done here is newer than all that there is, whatever the device's clock says.
  let newest = "";
  for (const { updated_at } of tasks.values()) if (updated_at > newest) newest = updated_at;
  const latest = newest ? Date.parse(newest) + 1 : 0;
  for (const queued of queue) {
    const action = { ...queued, at: Math.max(queued.at, latest) };
    const id = current(state, action.id);
    const task = shown.get(id);
    if (action.kind === "create") shown.set(id, made(id, state.user, action.fields as NewTask, action.at));
    else if (action.kind === "remove") shown.delete(id);
    else if (action.kind === "restore") action.seen && !task && shown.set(id, action.seen);
    else if (task) shown.set(id, changed(task, action));
  }
  return shown;
}
