"use client";

import { createContext, createElement, type FunctionComponent, type ReactNode, useContext, useMemo, useSyncExternalStore } from "react";
import type { LiveTasks, Snapshot, Status } from "./live.js";
import { select } from "./select.js";
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
  const asked = JSON.stringify(query);
  return useMemo(() => {
    const known = ready || !initial ? tasks : new Map([...initial.map((task) => [task.id, task] as const), ...tasks]);
    return select(known.values(), JSON.parse(asked) as TaskQuery);
  }, [tasks, ready, initial, asked]);
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
