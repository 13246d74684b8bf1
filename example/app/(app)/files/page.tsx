import type { Metadata } from "next";
import { Files } from "@/components/files";

export const metadata: Metadata = { title: "Import and export" };

export default function Page() {
  return <Files />;
}
