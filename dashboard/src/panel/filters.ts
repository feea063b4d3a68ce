import { useCallback, useMemo } from "react";
import { useSearchParams } from "wouter";
import { pageBefore, rememberPage } from "./trail";

export interface Filters {
  /** Every value of a filter that may have several. */
  all: (name: string) => string[];
  one: (name: string) => string | undefined;
  /** Whether any filter is set. */
  any: boolean;
  /** Sets filters, and goes back to the newest page. Null and an empty list take a filter away. */
  set: (changed: Record<string, string | string[] | null>, how?: { replace?: boolean }) => void;
  clear: () => void;
}

export interface Paging {
  cursor: string | undefined;
  older: (cursor: string) => void;
  newer: () => void;
  /** Whether it is known which page comes before this one. */
  hasNewer: boolean;
  newest: () => void;
}

// Which page it is; no filter.
const CURSOR = "after";

/** The filters and the page of a list, kept in the address: a link leads to the same list. */
export function useFilters(): [Filters, Paging] {
  const [params, setParams] = useSearchParams();
  const set = useCallback<Filters["set"]>(
    (changed, how) => {
      setParams((old) => {
        const next = new URLSearchParams(old);
        next.delete(CURSOR);
        for (const [name, value] of Object.entries(changed)) {
          next.delete(name);
          for (const one of [value ?? []].flat()) if (one !== "") next.append(name, one);
        }
        return next;
      }, how);
    },
    [setParams],
  );
  const clear = useCallback(() => setParams(new URLSearchParams()), [setParams]);
  const turn = useCallback(
    (cursor: string | undefined) => {
      setParams((old) => {
        const next = new URLSearchParams(old);
        if (cursor === undefined) next.delete(CURSOR);
        else next.set(CURSOR, cursor);
        return next;
      });
    },
    [setParams],
  );
  const filters = useMemo<Filters>(
    () => ({
      all: (name) => params.getAll(name),
      one: (name) => params.get(name) ?? undefined,
      any: [...params.keys()].some((name) => name !== CURSOR),
      set,
      clear,
    }),
    [params, set, clear],
  );
  const cursor = params.get(CURSOR) ?? undefined;
  const paging = useMemo<Paging>(() => {
    const before = cursor === undefined ? undefined : pageBefore(cursor);
    return {
      cursor,
      older: (next) => {
        rememberPage(next, cursor ?? "");
        turn(next);
      },
      newer: () => turn(before || undefined),
      hasNewer: before !== undefined,
      newest: () => turn(undefined),
    };
  }, [cursor, turn]);
  return [filters, paging];
}
