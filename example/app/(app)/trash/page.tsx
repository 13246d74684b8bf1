import type { Metadata } from "next";
import { Trash } from "@/components/trash";

export const metadata: Metadata = { title: "Trash" };

export default function Page() {
  return <Trash />;
}
