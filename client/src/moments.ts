// Days and instants as the service compares them: instants as text in UTC, to the microsecond.
import type { Task } from "./types.js";

const LAST = "9999-12-31T23:59:59.999999";
const clocks = new Map<string, Intl.DateTimeFormat>();

function clock(timezone: string): Intl.DateTimeFormat {
  let known = clocks.get(timezone);
  if (!known) {
    const numbers = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" } as const;
    const options = { ...numbers, second: "2-digit", hourCycle: "h23", timeZone: timezone } as const;
    try {
      known = new Intl.DateTimeFormat("en-US", options);
    } catch {
      known = new Intl.DateTimeFormat("en-US", { ...options, timeZone: "UTC" }); // a zone that the browser lacks
    }
    clocks.set(timezone, known);
  }
  return known;
}

/** What the clocks of a zone show at an instant, as if it were UTC. */
function wall(ms: number, timezone: string): number {
  const shown: Record<string, number> = {};
  for (const { type, value } of clock(timezone).formatToParts(ms)) shown[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = shown;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  return date.getTime() + (((ms % 1000) + 1000) % 1000);
}

/** When the clocks of a zone show a time; of two such instants the first, of none the one a shift later. */
function instant(shown: number, timezone: string): number {
  const DAY = 86_400_000;
  const before = wall(shown - DAY, timezone) - (shown - DAY);
  const after = wall(shown + DAY, timezone) - (shown + DAY);
  const [first, second] = [shown - before, shown - after];
  if (before === after || wall(first, timezone) === shown) return first;
  return wall(second, timezone) === shown ? second : first;
}

function text(ms: number, micros: string): string {
  const iso = new Date(ms).toISOString();
  return iso.length > 24 ? (iso.startsWith("+") ? LAST : "0001-01-01T00:00:00.000000") : iso.slice(0, 20) + micros;
}

/** An instant as text that is ordered as time is; one without a zone is read in `timezone`. */
export function moment(iso: string, timezone = "UTC"): string {
  const [, seconds = "", fraction = "", zone = ""] =
    /^(.{10}[T ]\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?(.*)$/.exec(iso.replace(/ (?=\d\d:?\d\d$)/, "+")) ?? [];
  const micros = fraction.padEnd(6, "0").slice(0, 6);
  if (zone) return text(Date.parse(seconds.replace(" ", "T") + zone), micros);
  return text(instant(Date.parse(`${seconds.replace(" ", "T")}Z`), timezone), micros);
}

const isDay = (value: string): boolean => value.length === 10;

/** The day that an instant, as text in UTC, lies on in a zone. */
function localDay(at: string, timezone: string): string {
  return new Date(wall(Date.parse(`${at.slice(0, 23)}Z`), timezone)).toISOString().slice(0, 10);
}

/** When a task is due: a day at its last moment in its zone. */
export function dueAt({ due_date, timezone }: Task): string | null {
  if (due_date === null) return null;
  if (!isDay(due_date)) return moment(due_date);
  return text(instant(Date.parse(`${due_date}T23:59:59.999Z`), timezone), "999999");
}

const NEAR: Record<string, number> = { yesterday: -1, today: 0, tomorrow: 1 };

/** A moment of a filter, where it may be a day like `today`. */
function named(at: string, timezone: string, now: Date): string {
  const days = NEAR[at.trim().toLowerCase()];
  if (days === undefined) return at;
  return new Date(wall(now.getTime(), timezone) + days * 86_400_000).toISOString().slice(0, 10);
}

/** When the day of an instant ends in a zone, in ms. */
export function dayEnds(now: Date, timezone: string): number {
  const DAY = 86_400_000;
  return instant((Math.floor(wall(now.getTime(), timezone) / DAY) + 1) * DAY, timezone);
}

/** Whether a moment of a filter is a day that is another tomorrow. */
export const isNear = (at: string | null | undefined): boolean => NEAR[at?.trim().toLowerCase() ?? ""] !== undefined;

/** Where a due date lies beside a moment of a filter: below 0 before it, above 0 after it. */
export function dueBeside(task: Task, filter: string, asked: string | null | undefined, now: Date): number {
  const due = task.due_date ?? "";
  const at = named(filter, asked ?? "UTC", now);
  if (!isDay(at)) return order(dueAt(task) ?? "", moment(at, asked ?? "UTC"));
  return order(isDay(due) ? due : localDay(moment(due), asked ?? task.timezone), at);
}

/** Whether an instant lies after a moment of a filter: after a day is after its last moment. */
export function isAfter(iso: string, filter: string, asked: string | null | undefined, now: Date): boolean {
  const zone = asked ?? "UTC";
  const at = named(filter, zone, now);
  return isDay(at) ? localDay(moment(iso), zone) > at : moment(iso) > moment(at, zone);
}

const order = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);
