"use client";

import { createContext, type ReactNode, use, useCallback, useEffect, useState } from "react";
import { jwtPlugin, type Task, TaskApiError, tasksApi } from "task-api-client";
import { assistantApi } from "task-api-client/assistant";
import { type Change, liveTasks } from "task-api-client/live";
import { TasksProvider, useTasks } from "task-api-client/react";

export interface Toast {
  text: string;
  undo?: (() => void) | undefined;
}

/** An edit that the service has refused, because somebody else has changed the same fields. */
export interface Refused {
  task: Task;
  fields: Record<string, { mine: unknown; theirs: unknown }>;
}

/** What the page was rendered with. */
export interface Given {
  /** The service's address. */
  base: string;
  /** The first tasks; undefined where the service did not answer. */
  initial: Task[] | undefined;
  /** The assistant's model, where the app was told. */
  model: string | undefined;
}

function open({ base, initial }: Given) {
  const api = tasksApi({ base, token: jwtPlugin() });
  return { api, live: liveTasks(api, initial ? { initial } : {}), assistant: assistantApi(api) };
}

function useProvided(given: Given) {
  const [{ api, live, assistant }] = useState(() => open(given));
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

  /** Take back all that one request did, and offer to take that back; whether it was done. */
  const takeBack = useCallback(
    async (change: number): Promise<boolean> => {
      try {
        const undone = await api.undoChange(change);
        const again = undone.change;
        say({
          text: `Undone for ${undone.tasks} ${undone.tasks === 1 ? "task" : "tasks"}`,
          undo: again ? () => void takeBack(again) : undefined,
        });
        live.wake();
        return true;
      } catch (error) {
        say({ text: sentence(error) });
        return false;
      }
    },
    [api, live],
  );

  return { ...given, api, live, assistant, toast, say, tell, takeBack, refused, setRefused };
}

const Context = createContext<ReturnType<typeof useProvided> | null>(null);

/** The tasks, which the hooks of the client find, and what the parts of this app share beside. */
export function AppProvider({ children, ...given }: Given & { children: ReactNode }) {
  const app = useProvided(given);
  return (
    <TasksProvider live={app.live}>
      <Context value={app}>{children}</Context>
    </TasksProvider>
  );
}

export function useApp() {
  const provided = use(Context);
  if (!provided) throw new Error("useApp() needs an AppProvider around it");
  return provided;
}

/** What the service answers, asked again whenever something has changed. Undefined until it has. */
export function useAnswer<T>(ask: (signal: AbortSignal) => Promise<T>): { answer?: T; problem?: string } {
  const tasks = useTasks();
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
