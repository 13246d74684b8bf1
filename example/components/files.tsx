"use client";

import { type FormEvent, useState } from "react";
import type { ImportReply } from "task-api-client";
import { sentence, useApp } from "./app";
import { Calendars } from "./calendars";

export function Files() {
  const { api, live, say, takeBack } = useApp();
  const [reply, setReply] = useState<ImportReply>();
  const [isBusy, setBusy] = useState(false);

  async function save(format: "ndjson" | "csv") {
    try {
      const text = await api.export(format);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text]));
      link.download = `tasks.${format}`;
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (error) {
      say({ text: sentence(error) });
    }
  }

  async function load(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const file = form.get("file") as File;
    setBusy(true);
    try {
      const type = file.name.endsWith(".csv") ? "text/csv" : "application/x-ndjson";
      const got = await api.import(await file.text(), { type, on_conflict: form.has("update") ? "update" : "skip" });
      setReply(got);
      live.wake();
      const { change } = got;
      if (change) say({ text: `${got.created} imported`, undo: () => void takeBack(change) });
    } catch (error) {
      setReply(undefined);
      say({ text: sentence(error) });
    } finally {
      setBusy(false);
    }
  }

  const wrong = reply?.lines.filter((line) => line.status === "invalid") ?? [];
  return (
    <>
      <div className="head">
        <h1>Files and calendars</h1>
      </div>
      <section>
        <h2>Export</h2>
        <p>All your tasks with every field, as one file.</p>
        <p className="row">
          <button onClick={() => save("csv")}>CSV, for spreadsheets</button>
          <button onClick={() => save("ndjson")}>NDJSON, for programs</button>
        </p>
      </section>
      <section>
        <h2>Import</h2>
        <p>A file of this app, or a CSV of Todoist, TickTick, Microsoft To Do, Google Tasks or Excel.</p>
        <form className="import" onSubmit={load}>
          <label>
            File
            <input name="file" type="file" accept=".csv,.ndjson,.jsonl,text/csv" required />
          </label>
          <label className="check">
            <input name="update" type="checkbox" /> Overwrite tasks that have changed since
          </label>
          <button className="primary" disabled={isBusy}>
            Import
          </button>
        </form>
        <div role="status">
          {reply && (
            <p>
              {reply.created} created, {reply.unchanged} as they were, {reply.changed} changed since, {reply.invalid} with a mistake.
              {reply.ignored.length > 0 && ` Not understood: ${reply.ignored.join(", ")}.`}
            </p>
          )}
        </div>
        {wrong.length > 0 && (
          <ul className="differences">
            {wrong.slice(0, 20).map(({ line, detail }) => (
              <li key={line}>
                Line {line}: {detail}
              </li>
            ))}
          </ul>
        )}
      </section>
      <Calendars />
    </>
  );
}
