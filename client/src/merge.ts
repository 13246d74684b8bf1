import type { Conflict } from "./errors.js";
import type { Task, TaskChanges } from "./types.js";

// Fields that mean something together: who moves a due date has seen its zone and its pattern.
const PLAN = ["due_date", "timezone", "recurring", "recurring_pattern", "recur_from"] as const;

export const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);

/** The fields of a task that a change is about. */
export function touched(changes: TaskChanges): (keyof Task)[] {
  const names = Object.keys(changes).filter((name) => changes[name as keyof TaskChanges] !== undefined);
  const isPlan = names.some((name) => name === "series" || (PLAN as readonly string[]).includes(name));
  return [...new Set([...names.filter((name) => name !== "series"), ...(isPlan ? PLAN : [])])] as (keyof Task)[];
}

/** The fields that `changes`, made of a task that was `base`, would overwrite although others have changed them. */
export function conflicts(
  base: Partial<Task>,
  changes: TaskChanges,
  current: Task,
): Record<string, Conflict> | undefined {
  const found: Record<string, Conflict> = {};
  for (const field of touched(changes)) {
    const wanted = changes as Partial<Task>;
    if (!(field in current)) continue; // of a service that is older than this client
    const mine = field in wanted ? wanted[field] : base[field];
    if (!same(base[field], current[field]) && !(field in wanted && same(mine, current[field]))) {
      found[field] = { base: base[field], mine, theirs: current[field] };
    }
  }
  return Object.keys(found).length ? found : undefined;
}
