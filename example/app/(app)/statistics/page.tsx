import type { Metadata } from "next";
import { Statistics } from "@/components/statistics";

export const metadata: Metadata = { title: "Statistics" };

export default function Page() {
  return <Statistics />;
}
