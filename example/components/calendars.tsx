"use client";

import { type FormEvent, useEffect, useState } from "react";
import type { Calendar, CreatedCalendar } from "task-api-client";
import { momentText } from "@/lib/dates";
import { sentence, useApp } from "./app";

/** Addresses at which calendar programs read the tasks that are due. */
export function Calendars() {
  const { api, say } = useApp();
  const [calendars, setCalendars] = useState<Calendar[]>([]);
  const [made, setMade] = useState<CreatedCalendar>(); // its address is shown once
  const [isBusy, setBusy] = useState(false);

  useEffect(() => {
    api.calendars.list().then(setCalendars, () => undefined); // the page's banner says why not
  }, [api]);

  async function create(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const name = String(new FormData(form).get("name")).trim();
    setBusy(true);
    try {
      const calendar = await api.calendars.create(name ? { name } : {});
      setMade(calendar);
      setCalendars((before) => [...before, calendar]);
      form.reset();
    } catch (error) {
      say({ text: sentence(error) });
    } finally {
      setBusy(false);
    }
  }

  async function revoke({ id, name }: Calendar) {
    try {
      await api.calendars.remove(id);
      setCalendars((before) => before.filter((one) => one.id !== id));
      if (made?.id === id) setMade(undefined);
      say({ text: `The address of “${name}” is no more` });
    } catch (error) {
      say({ text: sentence(error) });
    }
  }

  async function copy({ url }: CreatedCalendar) {
    await navigator.clipboard.writeText(url).then(
      () => say({ text: "Copied" }),
      () => say({ text: "The browser does not let this page copy. Select the address instead." }),
    );
  }

  return (
    <section>
      <h2>In your calendar</h2>
      <p>A calendar program that subscribes to an address shows what is due. Whoever has the address can read that.</p>
      <form className="add" onSubmit={create}>
        <input name="name" aria-label="Name of the calendar" placeholder="Name: Tasks" maxLength={100} autoComplete="off" />
        <button disabled={isBusy}>Make an address</button>
      </form>
      <div role="status">
        {made && (
          <div className="note address">
            <p>Copy it now: it is not shown again.</p>
            <div className="row">
              <input readOnly aria-label={`Address of ${made.name}`} value={made.url} onFocus={(event) => event.target.select()} />
              <button type="button" onClick={() => copy(made)}>
                Copy
              </button>
            </div>
          </div>
        )}
      </div>
      <ul className="events">
        {calendars.map((calendar) => (
          <li key={calendar.id}>
            <div>
              <p>
                <strong>{calendar.name}</strong>
              </p>
              <p className="muted">Made {momentText(calendar.created_at)}</p>
            </div>
            <button type="button" onClick={() => revoke(calendar)} aria-label={`Revoke ${calendar.name}`}>
              Revoke
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
