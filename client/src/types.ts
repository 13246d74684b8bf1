// The wire, by the names that code says: everything here comes from openapi.json.
import type { components, operations } from "./schema.js";

type Schemas = components["schemas"];
type Query<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;

export type Task = Schemas["TaskPublic"];
export type NewTask = Schemas["TaskCreate"];
export type TaskChanges = Schemas["TaskUpdate"];
export type TaskStats = Schemas["TaskStats"];
export type TaskEvent = Schemas["Event"];
export type TrashedTask = Schemas["TrashedTask"];
export type Undone = Schemas["Undone"];
export type Operation = Schemas["Batch"]["operations"][number];
export type BatchResult = Schemas["BatchResult"];
export type BatchReply = Schemas["BatchReply"];
export type ImportReply = Schemas["ImportReply"];
export type FieldError = Schemas["FieldError"];
export type Conversation = Schemas["ConversationPublic"];
/** A message as `useChat` keeps it. */
export type ConversationMessage = Schemas["UIMessage"];
/** What to do to a copy, and where to ask on. */
export type Changes = Schemas["Changes"];

/** Which tasks; a task meets all of it. */
export type TaskFilter = Query<"count_tasks">;
/** Which tasks, and in which order; `limit` is the size of a page. */
export type TaskQuery = Omit<Query<"list_tasks">, "cursor">;
export type RecurrenceQuery = Query<"preview_recurrence">;

/** A calendar to be: which tasks, and how programs show them. */
export type NewCalendar = Omit<Schemas["CalendarCreate"], "filter"> & { filter?: TaskFilter };
export type Calendar = Omit<Schemas["CalendarPublic"], "filter"> & { filter: TaskFilter };
/** A calendar that was just made, with its address. */
export type CreatedCalendar = Calendar & Pick<Schemas["CalendarCreated"], "url">;
