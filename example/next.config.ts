import type { NextConfig } from "next";

const config: NextConfig = {
  poweredByHeader: false,
  output: process.env.STANDALONE ? "standalone" : undefined, // for its image
  turbopack: { root: import.meta.dirname },
};

export default config;
