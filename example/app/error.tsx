"use client";

export default function Failed({ reset }: { reset: () => void }) {
  return (
    <main className="page">
      <h1>That did not work</h1>
      <p>This page could not be made: its database does not answer. Your tasks are safe.</p>
      <button className="primary" onClick={reset}>
        Try again
      </button>
    </main>
  );
}
