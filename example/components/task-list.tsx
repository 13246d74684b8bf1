"use client";

import { type FormEvent, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import type { TaskQuery } from "task-api-client";
import { useConnection, useTaskActions, useTasks } from "task-api-client/react";
import { useApp } from "./app";
import { isTyping } from "./shell";
import { TaskEditor } from "./task-editor";
import { TaskRow } from "./task-row";

const STATES = [
  ["pending", "To do"],
  ["completed", "Done"],
  ["all", "All"],
] as const;

const SORTS = [
  ["created", "Newest first"],
  ["due_date", "By due date"],
  ["priority", "By priority"],
  ["title", "By title"],
  ["updated", "Last changed"],
] as const;

export function TaskList() {
  const { live, initial, tell } = useApp();
  const act = useTaskActions();
  const { status } = useConnection();
  const [query, setQuery] = useState<TaskQuery>({ status: "pending", sort: "created" });
  const [editing, setEditing] = useState<number>();
  const list = useRef<HTMLUListElement>(null);
  const adding = useRef<HTMLInputElement>(null);
  const search = useRef<HTMLInputElement>(null);

  const asked = useDeferredValue(query); // typing goes on while a long list is made
  const shown = useTasks(asked, initial);
  const tasks = useTasks({}, initial);
  const tags = useMemo(() => [...new Set(tasks.flatMap((task) => task.tags))].sort(), [tasks]);
  const open = useMemo(() => tasks.filter((task) => !task.completed).length, [tasks]);
  const narrow = (part: TaskQuery) => setQuery((before) => ({ ...before, ...part }));

  function add(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const title = adding.current?.value.trim();
    if (!title || !adding.current) return;
    adding.current.value = "";
    const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
    tell(`Added “${title}”`, act.create({ title, timezone: timeZone }));
  }

  function complete(id: number) {
    const task = live.get(id);
    if (!task) return;
    focusBeside(id);
    tell(`${task.completed ? "Reopened" : "Completed"} “${task.title}”`, act.complete(id, !task.completed));
  }

  function remove(id: number) {
    const task = live.get(id);
    if (!task) return;
    focusBeside(id);
    tell(`Deleted “${task.title}”`, act.remove(id));
  }

  function edit(id: number | undefined) {
    const before = editing;
    setEditing(id);
    if (id === undefined && before !== undefined) focusSoon(live.get(before)?.id);
  }

  // What will not be there any more passes the focus on, if it has it.
  function focusBeside(id: number) {
    const row = document.getElementById(`task-${id}`);
    if (!row?.contains(document.activeElement)) return;
    const next = row.nextElementSibling ?? row.previousElementSibling;
    setTimeout(() => {
      if (!row.isConnected) ((next?.isConnected && next.querySelector<HTMLElement>(".title")) || adding.current)?.focus();
    });
  }

  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      const rows = [...(list.current?.children ?? [])];
      const at = rows.findIndex((row) => row.contains(document.activeElement));
      const id = Number(rows[at]?.id.slice("task-".length)) || undefined;
      const go = (to: number) => rows[Math.max(0, Math.min(rows.length - 1, to))]?.querySelector<HTMLElement>(".title")?.focus();
      if (event.key === "n") adding.current?.focus();
      else if (event.key === "/") search.current?.focus();
      else if (event.key === "j" || event.key === "ArrowDown") go(at + 1);
      else if (event.key === "k" || event.key === "ArrowUp") go(at < 0 ? rows.length : at - 1);
      else if (id && event.key === "e") edit(id);
      else if (id && event.key === "x") complete(id);
      else if (id && (event.key === "d" || event.key === "Delete")) remove(id);
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });

  return (
    <>
      <div className="head">
        <h1>Tasks</h1>
        <p className="muted">{open === 1 ? "1 to do" : `${open} to do`}</p>
      </div>
      <form className="add" onSubmit={add}>
        <input ref={adding} aria-label="New task" placeholder="What is to be done?" maxLength={200} enterKeyHint="done" autoComplete="off" />
        <button className="primary">Add</button>
      </form>
      <div className="filters" role="search">
        <input
          ref={search}
          type="search"
          aria-label="Search"
          placeholder="Search"
          onChange={(event) => narrow({ search: event.target.value })}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
        <fieldset className="switch">
          <legend className="unseen">State</legend>
          {STATES.map(([value, label]) => (
            <label key={value}>
              <input type="radio" name="state" checked={query.status === value} onChange={() => narrow({ status: value })} />
              <span>{label}</span>
            </label>
          ))}
        </fieldset>
        <select aria-label="Priority" onChange={(event) => narrow({ priority: event.target.value ? [event.target.value] : undefined } as TaskQuery)}>
          <option value="">Any priority</option>
          <option value="high">High</option>
          <option value="medium">Medium</option>
          <option value="low">Low</option>
        </select>
        <select aria-label="Tag" onChange={(event) => narrow({ tag: event.target.value ? [event.target.value] : undefined } as TaskQuery)}>
          <option value="">Any tag</option>
          {tags.map((tag) => (
            <option key={tag}>{tag}</option>
          ))}
        </select>
        <select aria-label="Due" onChange={(event) => narrow(DUE[event.target.value]!)}>
          <option value="any">Due any time</option>
          <option value="overdue">Overdue</option>
          <option value="dated">With a date</option>
          <option value="undated">Without a date</option>
        </select>
        <select aria-label="Sort" value={query.sort ?? "created"} onChange={(event) => narrow({ sort: event.target.value as typeof query.sort })}>
          {SORTS.map(([value, label]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
      </div>
      <ul className="tasks" ref={list} aria-label="Tasks">
        {shown.map((task) => (
          <li key={task.id} id={`task-${task.id}`}>
            {editing !== undefined && live.get(editing)?.id === task.id ? (
              <TaskEditor task={task} close={() => edit(undefined)} />
            ) : (
              <TaskRow task={task} edit={edit} complete={complete} remove={remove} />
            )}
          </li>
        ))}
      </ul>
      {!shown.length && <Empty isLoading={status === "loading" && !tasks.length} isFiltered={tasks.length > 0} />}
    </>
  );
}

const DUE: Record<string, TaskQuery> = {
  any: { overdue: undefined, has_due_date: undefined },
  overdue: { overdue: true, has_due_date: undefined },
  dated: { overdue: undefined, has_due_date: true },
  undated: { overdue: undefined, has_due_date: false },
};

function Empty({ isLoading, isFiltered }: { isLoading: boolean; isFiltered: boolean }) {
  if (isLoading) return <p className="empty">Loading…</p>;
  return <p className="empty">{isFiltered ? "No task is like that." : "Nothing to do. Add your first task above."}</p>;
}

const focusSoon = (id: number | undefined) =>
  setTimeout(() => document.querySelector<HTMLElement>(`[id="task-${id}"] .title`)?.focus());
