import { Following, type LiveOptions } from "./following.js";
import { newKey } from "./http.js";
import { nothing, type Action } from "./store.js";
import type { TasksApi } from "./tasks.js";
import type { NewTask, Task, TaskChanges } from "./types.js";

export type { Snapshot, Status } from "./copy.js";
export type { LiveOptions, Locks } from "./following.js";
export { matches, select, standsUntil } from "./select.js";
export { browserStore, memoryStore, type Store } from "./store.js";

/** A change that is shown already. */
export interface Change {
  /** The task's id; below 0 until the service has given it one. */
  id: number;
  /** The task as the service has it; undefined where it is gone. Rejects, and is taken back, where it is refused. */
  done: Promise<Task | undefined>;
  /** Make the opposite change. */
  undo(): Change;
}

const UNDOABLE = 100; // changes

/** A copy of the tasks that is kept in the browser and follows the service; one for all of its tabs. */
export class LiveTasks extends Following {
  readonly #undoable: Change[] = [];

  create(fields: NewTask): Change {
    const [random = 0] = crypto.getRandomValues(new Uint32Array(1));
    const id = -(Date.now() * 1000 + (random % 1000));
    return this.#act({ kind: "create", id, fields }, () => this.remove(id));
  }

  /** Change what is named. Where somebody has changed the same meanwhile, it is refused with both values. */
  update(id: number, fields: TaskChanges): Change {
    const seen = this.get(id);
    return this.#act({ kind: "update", id, fields, ...(seen && { seen }) }, () => {
      const before = Object.keys(fields).filter((name) => name !== "series");
      return this.update(id, Object.fromEntries(before.map((name) => [name, seen?.[name as keyof Task] ?? null])));
    });
  }

  complete(id: number, completed = true): Change {
    return this.#act({ kind: "complete", id, completed }, () => this.complete(id, !completed));
  }

  remove(id: number): Change {
    const seen = this.get(id);
    return this.#act({ kind: "remove", id }, () => this.restore(id, seen));
  }

  /** Bring back a task from the trash; what it was, where that is to be shown at once. */
  restore(id: number, seen?: Task): Change {
    return this.#act({ kind: "restore", id, ...(seen && { seen }) }, () => this.remove(id));
  }

  /** Make the opposite of this tab's last change that was not undone; undefined where there is none. */
  undo(): Change | undefined {
    const last = this.#undoable.pop()?.undo();
    this.#undoable.pop(); // which is a change, too
    return last;
  }

  /** Erase the copy and what was not sent yet, in all tabs; for when somebody signs out. */
  async signOut(): Promise<void> {
    await this.greeted;
    await this.commit((state) => ({ state: { ...nothing(), era: state.era + 1 }, remove: "all" }));
    this.erased();
    this.say("signed_out");
  }

  /** Look whether there is something to do: somebody has signed in, or something has changed past this copy. */
  wake = (): void => {
    this.looks(true);
    this.post({ type: "look", signedIn: true });
  };

  protected override erased(): void {
    this.#undoable.length = 0; // it was somebody else's
    super.erased();
  }

  #act(about: Pick<Action, "kind" | "id"> & Partial<Action>, undo: () => Change): Change {
    const action: Action = { ...about, key: newKey(), at: Date.now() };
    const change = { id: action.id, done: this.add(action), undo };
    void this.save(action).then(() => this.poke());
    this.#undoable.push(change);
    if (this.#undoable.length > UNDOABLE) this.#undoable.shift();
    return change;
  }
}

/** A copy of `api`'s tasks that follows the service; one for a page. */
export const liveTasks = (api: TasksApi, options?: LiveOptions): LiveTasks => new LiveTasks(api, options);
