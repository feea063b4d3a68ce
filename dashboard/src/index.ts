export type { GetToken } from "./api/connection";
export { SchedulerPanel, type SchedulerPanelProps } from "./panel/SchedulerPanel";
export type { Theme } from "./panel/theme";
