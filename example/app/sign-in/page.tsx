"use client";

import { createAuthClient } from "better-auth/react";
import { type FormEvent, useState } from "react";

const { signIn, signUp } = createAuthClient();

export default function SignIn() {
  const [isNew, setNew] = useState(false);
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const [name, email, password] = ["name", "email", "password"].map((field) => String(form.get(field)));
    setBusy(true);
    setProblem("");
    const { error } = isNew
      ? await signUp.email({ name: name!, email: email!, password: password! })
      : await signIn.email({ email: email!, password: password! });
    if (!error) return window.location.assign("/");
    setBusy(false);
    setProblem(error.message || "The app does not answer. Try again in a moment.");
  }

  return (
    <main className="door">
      <form className="card" onSubmit={submit}>
        <p className="brand">Tasks</p>
        <h1>{isNew ? "Make an account" : "Welcome back"}</h1>
        {isNew && (
          <label>
            Name
            <input name="name" autoComplete="name" required />
          </label>
        )}
        <label>
          Email
          <input name="email" type="email" autoComplete="email" required />
        </label>
        <label>
          Password
          <input name="password" type="password" minLength={8} autoComplete={isNew ? "new-password" : "current-password"} required />
        </label>
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <button className="primary" disabled={isBusy}>
          {isNew ? "Sign up" : "Sign in"}
        </button>
        <button type="button" className="quiet" onClick={() => setNew(!isNew)}>
          {isNew ? "I have an account" : "I am new here"}
        </button>
      </form>
    </main>
  );
}
