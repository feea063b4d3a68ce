import { type ComponentType, lazy } from "react";

type Part<Props> = { default: ComponentType<Props> };
type Load<Props> = () => Promise<Part<Props>>;

const AGAIN_MS = 2_000;
const loads: Load<never>[] = [];

/** A page that comes when it is first looked at, and is waited for where the scheduler is away just then. */
function page<Props>(load: Load<Props>) {
  loads.push(load as Load<never>);
  return lazy(() => patiently(load));
}

async function patiently<Props>(load: Load<Props>): Promise<Part<Props>> {
  for (;;) {
    try {
      return await load();
    } catch (error) {
      // What browsers say of a part that cannot be fetched; whatever else is wrong with it stays wrong.
      if (!(error instanceof TypeError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

/** Fetches the parts that nobody has looked at yet, so that all pages are there when the scheduler is not. */
export function fetchAll(): void {
  for (const load of loads) void load().catch(() => {});
}

export const Overview = page(() => import("../pages/Overview"));
export const JobTypes = page(() => import("../pages/JobTypes"));
export const History = page(() => import("../pages/History"));
export const JobPage = page(() => import("../pages/JobPage"));
export const Audit = page(() => import("../pages/Audit"));
