import { useQuery } from "@tanstack/react-query";
import { useCallback } from "react";
import { words } from "../ui/words";
import { usePanel } from "./context";

/** What a job type is called for people, also before the API has told. */
export function useTitles(): (jobType: string) => string {
  const types = useQuery(usePanel().queries.types()).data;
  return useCallback((jobType) => types?.find((one) => one.jobType === jobType)?.title ?? words(jobType), [types]);
}
