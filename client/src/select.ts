import { dayEnds, dueAt, dueBeside, isAfter, isNear, moment } from "./moments.js";
import type { Task, TaskFilter, TaskQuery } from "./types.js";
import { compare, fold, foldTag, searched, sortKey } from "./words.js";

/** What lists need of a task, worked out once. */
interface Keys {
  title: string;
  description: string;
  tags: Set<string>;
  order: string;
  due: string | null;
  created: string;
  updated: string;
}

const known = new WeakMap<Task, Keys>();

function keys(task: Task): Keys {
  let found = known.get(task);
  if (!found) {
    found = {
      title: searched(task.title),
      description: searched(task.description ?? ""),
      tags: new Set(task.tags.map(foldTag)),
      order: sortKey(task.title),
      due: dueAt(task),
      created: moment(task.created_at),
      updated: moment(task.updated_at),
    };
    known.set(task, found);
  }
  return found;
}

const RANKS = ["low", "medium", "high"];

const words = (query: TaskFilter): string[] => (query.search ?? "").split(/\s+/).map(fold).filter(Boolean);

/** Whether a task is one of those that the service would find. */
export function matches(task: Task, query: TaskFilter, now = new Date()): boolean {
  const { due, tags, title, description } = keys(task);
  const done = query.completed ?? { pending: false, completed: true, all: undefined }[query.status ?? "all"];
  if (done !== undefined && task.completed !== done) return false;
  if (query.priority?.length && !query.priority.includes(task.priority)) return false;
  if (query.recur_from && task.recur_from !== query.recur_from) return false;
  if (query.tag?.length) {
    const asked = query.tag.map(foldTag);
    const found = query.tag_match === "any" ? asked.some((tag) => tags.has(tag)) : asked.every((tag) => tags.has(tag));
    if (!found) return false;
  }
  if (query.has_due_date != null && (due !== null) !== query.has_due_date) return false;
  if (query.overdue != null) {
    const overdue = !task.completed && due !== null && due < moment(now.toISOString());
    if (overdue !== query.overdue) return false;
  }
  if (query.due_before && !(due !== null && dueBeside(task, query.due_before, query.timezone, now) < 0)) return false;
  if (query.due_after && !(due !== null && dueBeside(task, query.due_after, query.timezone, now) > 0)) return false;
  if (query.created_after && !isAfter(task.created_at, query.created_after, query.timezone, now)) return false;
  if (query.updated_after && !isAfter(task.updated_at, query.updated_after, query.timezone, now)) return false;
  return words(query).every((word) => title.includes(word) || description.includes(word));
}

/** The tasks that the service would list, in its order. `limit` is not heeded: it is the size of a page. */
export function select(tasks: Iterable<Task>, query: TaskQuery = {}, now?: Date): Task[] {
  const sort = query.sort ?? "created";
  const ascending = (query.order ?? (sort === "title" || sort === "due_date" ? "asc" : "desc")) === "asc";
  const asked = words(query);
  const place: (task: Task) => string | number | null = {
    created: (task: Task) => keys(task).created,
    updated: (task: Task) => keys(task).updated,
    title: (task: Task) => keys(task).order,
    due_date: (task: Task) => keys(task).due,
    priority: (task: Task) => RANKS.indexOf(task.priority),
    relevance: (task: Task) => asked.filter((word) => keys(task).title.includes(word)).length,
  }[sort];
  const found: { task: Task; at: string | number | null }[] = [];
  for (const task of tasks) if (matches(task, query, now)) found.push({ task, at: place(task) });
  found.sort((one, other) => {
    if (one.at === null || other.at === null) {
      if (one.at !== other.at) return one.at === null ? 1 : -1; // without a date: at the end, either way
    } else {
      const order =
        typeof one.at === "number" ? one.at - Number(other.at) : compare(one.at, String(other.at));
      if (order) return ascending ? order : -order;
    }
    const order = serial(one.task.id) - serial(other.task.id);
    return ascending ? order : -order;
  });
  return found.map(({ task }) => task);
}

/** Until when, in ms, a selection stands by itself: time alone makes tasks overdue, and today another day. */
export function standsUntil(tasks: Iterable<Task>, query: TaskQuery = {}, now = new Date()): number {
  const days = [query.due_before, query.due_after, query.created_after, query.updated_after];
  let until = days.some(isNear) ? dayEnds(now, query.timezone ?? "UTC") : Infinity;
  if (query.overdue == null) return until;
  for (const task of tasks) {
    const { due } = keys(task);
    if (due === null || task.completed) continue;
    const after = Date.parse(`${due.slice(0, 23)}Z`) + 1; // it is overdue once that is past
    if (after > now.getTime() && after < until) until = after;
  }
  return until;
}

/** A task that the service does not know yet is newer than all that it knows: its id is made of the time. */
const serial = Math.abs;
