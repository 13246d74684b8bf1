"use client";

import {
  createContext,
  createElement,
  type FunctionComponent,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import type { LiveTasks, Snapshot, Status } from "./live.js";
import { select, standsUntil } from "./select.js";
import type { Task, TaskQuery } from "./types.js";

const Context = createContext<LiveTasks | undefined>(undefined);

// What a server shows, and a page until it has taken over: nothing but what the server was given.
const NOTHING: Snapshot = { tasks: new Map(), status: "loading", ready: false, pending: 0 };
const nothing = () => NOTHING;

/** Gives the hooks their copy: `liveTasks(api)`, made once, outside of components. */
export const TasksProvider: FunctionComponent<{ live: LiveTasks; children?: ReactNode }> = ({ live, children }) =>
  createElement(Context.Provider, { value: live }, children);

/** The copy itself. */
export function useLiveTasks(): LiveTasks {
  const live = useContext(Context);
  if (!live) throw new Error("put a <TasksProvider live={…}> around what uses tasks");
  return live;
}

function useSnapshot(live: LiveTasks): Snapshot {
  return useSyncExternalStore(live.subscribe, live.snapshot, nothing);
}

/** The tasks that the service would list, in its order; `initial` is what the server has rendered. */
export function useTasks(query: TaskQuery = {}, initial?: readonly Task[]): Task[] {
  const { tasks, ready } = useSnapshot(useLiveTasks());
  const [past, setPast] = useState(0); // the moment that has made another list of it
  const asked = JSON.stringify(query);
  const [found, until] = useMemo(() => {
    const known = ready || !initial ? tasks : new Map([...initial.map((task) => [task.id, task] as const), ...tasks]);
    const now = new Date();
    const query = JSON.parse(asked) as TaskQuery;
    return [select(known.values(), query, now), standsUntil(known.values(), query, now)];
  }, [tasks, ready, initial, asked, past]);
  useEffect(() => at(until, () => setPast(until)), [until]);
  return found;
}

const LONGEST = 2 ** 31 - 1; // ms that a timer can wait

/** Call once a moment is past; timers of a hidden page, and of a device that slept, are late. Returns how to stop. */
function at(moment: number, call: () => void): (() => void) | undefined {
  if (moment === Infinity) return undefined;
  let timer: ReturnType<typeof setTimeout>;
  const look = () => {
    clearTimeout(timer);
    const left = moment - Date.now();
    if (left <= 0) call();
    else timer = setTimeout(look, Math.min(left, LONGEST));
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

/** A task by its id, also by the one that it had before the service gave it its own; undefined where it is gone. */
export function useTask(id: number, initial?: Task): Task | undefined {
  const live = useLiveTasks();
  const { ready } = useSnapshot(live);
  const task = useSyncExternalStore(live.subscribe, () => live.get(id), () => initial);
  return ready ? task : (task ?? initial);
}

/** What a user does: each is shown at once, and taken back where the service refuses it. */
export function useTaskActions(): Pick<LiveTasks, "create" | "update" | "complete" | "remove" | "restore" | "undo"> {
  const live = useLiveTasks();
  return useMemo(
    () => ({
      create: (fields) => live.create(fields),
      update: (id, fields) => live.update(id, fields),
      complete: (id, completed) => live.complete(id, completed),
      remove: (id) => live.remove(id),
      restore: (id, seen) => live.restore(id, seen),
      undo: () => live.undo(),
    }),
    [live],
  );
}

/** Whether the copy follows the service, and how many changes it has not answered yet. */
export function useConnection(): { status: Status; pending: number } {
  const { status, pending } = useSnapshot(useLiveTasks());
  return useMemo(() => ({ status, pending }), [status, pending]);
}
