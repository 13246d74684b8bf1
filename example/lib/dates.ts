import type { Task } from "task-api-client";

/** The day, as `2026-11-21`, at an instant in a zone. */
const dayIn = (at: Date, timeZone: string): string =>
  new Intl.DateTimeFormat("en-CA", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" }).format(at);

const isDay = (due: string): boolean => due.length === 10;

/** A due date as people say it, in the task's own zone: the same on the server and in any browser. */
export function dueText({ due_date: due, timezone }: Pick<Task, "due_date" | "timezone">, now = new Date()): string {
  if (!due) return "";
  const day = isDay(due) ? due : dayIn(new Date(due), timezone);
  const away = Math.round((Date.parse(day) - Date.parse(dayIn(now, timezone))) / 86_400_000);
  const time = isDay(due) ? "" : new Intl.DateTimeFormat("en-GB", { timeZone: timezone, timeStyle: "short" }).format(new Date(due));
  return [NEAR[away] ?? dayText(day, now), time].filter(Boolean).join(", ");
}

const NEAR: Record<number, string> = { [-1]: "Yesterday", 0: "Today", 1: "Tomorrow" };

export function dayText(day: string, now = new Date()): string {
  const isThisYear = day.slice(0, 4) === String(now.getUTCFullYear());
  const year = isThisYear ? undefined : "numeric";
  const format = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", weekday: "short", day: "numeric", month: "short", year });
  return format.format(new Date(day)).replace(",", ""); // not every browser sets one
}

/** What two fields of a form say of a due date, in this browser's zone. */
export function dueFrom(day: string, time: string): Pick<Task, "due_date" | "timezone"> {
  const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return { due_date: day ? (time ? new Date(`${day}T${time}`).toISOString() : day) : null, timezone };
}

/** The other way round. */
export function fieldsOf(due: string | null): { day: string; time: string } {
  if (!due || isDay(due)) return { day: due ?? "", time: "" };
  const at = new Date(due);
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString();
  return { day: local.slice(0, 10), time: local.slice(11, 16) };
}

export const momentText = (at: string): string =>
  new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" }).format(new Date(at));
