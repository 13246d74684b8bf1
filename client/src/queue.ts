// What becomes of the queue when one of its changes is answered.
import { plain, type TaskApiError } from "./errors.js";
import { touched } from "./merge.js";
import type { Action, Edit, State } from "./store.js";
import type { Task, TaskChanges } from "./types.js";

const REFUSED = 20; // refusals that are kept for tabs that were not told
const IDS = 500; // first ids that are known for what they became

const last = <T>(record: Record<PropertyKey, T>, most: number): Record<PropertyKey, T> =>
  Object.fromEntries(Object.entries(record).slice(-most));

/** Take out a change: `task` is what it has made, nothing where that is gone. */
export function answered(state: State, key: string, task: Task | undefined, error: TaskApiError | undefined): Edit | undefined {
  const action = state.queue.find((one) => one.key === key);
  if (!action) return undefined; // another tab was here
  let queue = state.queue.filter((one) => one.key !== key);
  if (error) {
    const now = error.is("version_mismatch") ? error.current : undefined;
    if (action.kind === "update" && action.seen) queue = rebased(queue, action, action.seen);
    const refused = last({ ...state.refused, [key]: plain(error) }, REFUSED);
    return { state: { ...state, queue, refused }, put: now ? [now] : [] };
  }
  if (!task) return { state: { ...state, queue }, remove: [action.id] };
  const ids = action.id < 0 ? last({ ...state.ids, [action.id]: task.id }, IDS) : state.ids;
  queue = rebased(queue, action, task).map((one) => (one.id === action.id ? { ...one, id: task.id } : one));
  return { state: { ...state, queue, ids }, put: [task] };
}

/** Later changes of the task were made of what this one showed: let that be what has become of it. */
function rebased(queue: Action[], action: Action, task: Task): Action[] {
  const own = new Set<keyof Task>(action.kind === "create" ? (Object.keys(task) as (keyof Task)[]) : fieldsOf(action));
  return queue.map((one) => {
    if (one.id !== action.id) return one;
    const seen = one.seen && { ...one.seen, ...Object.fromEntries([...own].map((field) => [field, task[field]])) };
    for (const field of fieldsOf(one)) own.delete(field);
    return seen ? { ...one, seen: seen as Task } : one;
  });
}

const fieldsOf = ({ kind, fields }: Action): (keyof Task)[] =>
  kind === "complete" ? ["completed"] : kind === "update" ? touched(fields as TaskChanges) : [];
