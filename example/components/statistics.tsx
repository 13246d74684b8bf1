"use client";

import { useCallback } from "react";
import { named } from "./conflict";
import { useAnswer, useApp } from "./app";

const TAGS = 12;

export function Statistics() {
  const { api } = useApp();
  const { answer: stats, problem } = useAnswer(useCallback((signal: AbortSignal) => api.stats({ signal }), [api]));
  const tags = Object.entries(stats?.by_tag ?? {}).sort(([, one], [, other]) => other - one);
  return (
    <>
      <div className="head">
        <h1>Statistics</h1>
      </div>
      {!stats ? (
        <p className="empty">{problem ?? "Loading…"}</p>
      ) : (
        <>
          <dl className="numbers">
            {(["pending", "completed", "overdue", "total"] as const).map((name) => (
              <div key={name} className={name === "overdue" && stats.overdue ? "alarming" : ""}>
                <dt>{name === "pending" ? "To do" : name === "completed" ? "Done" : named(name)}</dt>
                <dd>{stats[name]}</dd>
              </div>
            ))}
          </dl>
          <Bars title="By priority" of={["high", "medium", "low"].map((name) => [named(name), stats.by_priority[name] ?? 0])} />
          {tags.length > 0 && <Bars title="By tag" of={tags.slice(0, TAGS)} />}
        </>
      )}
    </>
  );
}

function Bars({ title, of }: { title: string; of: [string, number][] }) {
  const most = Math.max(1, ...of.map(([, count]) => count));
  return (
    <section>
      <h2>{title}</h2>
      <dl className="bars">
        {of.map(([name, count]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <span style={{ width: `${(100 * count) / most}%` }} />
              {count}
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
