import { headers } from "next/headers";
import { redirect } from "next/navigation";
import type { ReactNode } from "react";
import { serverToken, type Task, tasksApi } from "task-api-client";
import { AppProvider } from "@/components/app";
import { Shell } from "@/components/shell";
import { auth } from "@/lib/auth";

const API = process.env.TASKS_URL ?? "http://localhost:8000"; // as browsers reach it
const INSIDE = process.env.TASKS_URL_INSIDE ?? API; // and as this server does, in a network of its own

export default async function Layout({ children }: { children: ReactNode }) {
  const asked = await headers();
  const session = await auth.api.getSession({ headers: asked });
  if (!session) redirect("/sign-in");

  // The first list comes with the page; the browser's copy then follows the service by itself.
  const api = tasksApi({ base: INSIDE, token: serverToken(auth, asked), retries: 0, timeout: 3000 });
  const initial = await firstPage(api.list({ limit: 100 }));
  return (
    <AppProvider base={API} initial={initial} model={process.env.ASSISTANT_MODEL}>
      <Shell name={session.user.name}>{children}</Shell>
    </AppProvider>
  );
}

/** Undefined where the service does not answer: the page says so, and shows what the browser has. */
async function firstPage(pages: AsyncIterable<Task>): Promise<Task[] | undefined> {
  const tasks: Task[] = [];
  try {
    for await (const task of pages) if (tasks.push(task) === 100) break;
    return tasks;
  } catch {
    return undefined;
  }
}
