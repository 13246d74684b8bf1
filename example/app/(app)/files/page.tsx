import type { Metadata } from "next";
import { Files } from "@/components/files";

export const metadata: Metadata = { title: "Files and calendars" };

export default function Page() {
  return <Files />;
}
