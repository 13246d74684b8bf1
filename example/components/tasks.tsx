"use client";

import { createContext, type ReactNode, use, useCallback, useEffect, useState, useSyncExternalStore } from "react";
import { jwtPlugin, type Task, TaskApiError, tasksApi } from "task-api-client";
import { type Change, liveTasks } from "task-api-client/live";

export interface Toast {
  text: string;
  undo?: (() => void) | undefined;
}

/** An edit that the service has refused, because somebody else has changed the same fields. */
export interface Refused {
  task: Task;
  fields: Record<string, { mine: unknown; theirs: unknown }>;
}

function open(base: string, initial: Task[] | undefined) {
  const api = tasksApi({ base, token: jwtPlugin() });
  const live = liveTasks(api, initial ? { initial } : {});
  return { api, live, first: live.snapshot(), wasDown: !initial };
}

function useProvided(base: string, initial: Task[] | undefined) {
  const [{ api, live, first, wasDown }] = useState(() => open(base, initial));
  const shown = useSyncExternalStore(live.subscribe, live.snapshot, () => first);
  const [toast, say] = useState<Toast>();
  const [refused, setRefused] = useState<Refused>();

  useEffect(() => {
    return live.onRefused((error) => {
      const isConflict = error.is("version_mismatch") && error.conflicts;
      say(isConflict ? undefined : { text: error.message }); // it was said to be saved
      if (isConflict) setRefused({ task: error.current, fields: isConflict });
    });
  }, [live]);

  useEffect(() => {
    const timer = setTimeout(() => say(undefined), 10_000);
    return () => clearTimeout(timer);
  }, [toast]);

  /** Tell of a change that is shown already, and offer to take it back. */
  const tell = useCallback((text: string, change: Change) => {
    const undo = () => {
      const back = change.undo();
      say({ text: "Undone", undo: () => void back.undo() });
    };
    say({ text, undo });
  }, []);

  return { api, live, ...shown, wasDown, toast, say, tell, refused, setRefused };
}

const Context = createContext<ReturnType<typeof useProvided> | null>(null);

export function TasksProvider({ api, initial, children }: { api: string; initial: Task[] | undefined; children: ReactNode }) {
  return <Context value={useProvided(api, initial)}>{children}</Context>;
}

export function useTasks() {
  const provided = use(Context);
  if (!provided) throw new Error("useTasks() needs a TasksProvider around it");
  return provided;
}

/** What the service answers, asked again whenever something has changed. Undefined until it has. */
export function useAnswer<T>(ask: (signal: AbortSignal) => Promise<T>): { answer?: T; problem?: string } {
  const { tasks } = useTasks();
  const [result, setResult] = useState<{ answer?: T; problem?: string }>({});
  useEffect(() => {
    const controller = new AbortController();
    ask(controller.signal).then(
      (answer) => setResult({ answer }),
      (error: unknown) => {
        if (!controller.signal.aborted) setResult((before) => ({ ...before, problem: sentence(error) }));
      },
    );
    return () => controller.abort();
  }, [ask, tasks]);
  return result;
}

/** What went wrong, for people. */
export function sentence(error: unknown): string {
  if (error instanceof TaskApiError) {
    return error.code === "network_error" ? "The task service does not answer. It is tried again when you are back." : error.message;
  }
  return "Something went wrong. Try again.";
}
