import { render, screen } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Router } from "wouter";
import { memoryLocation } from "wouter/memory-location";
import { user } from "../testing/user";

beforeEach(() => sessionStorage.clear());

const NEXT: Record<string, string> = { "": "a", a: "b", b: "c" };

type Parts = typeof import("./filters") & typeof import("../ui/Pager");

function List({ useFilters, Pager }: Parts) {
  const [filters, paging] = useFilters();
  const at = paging.cursor ?? "";
  const page = { page: 1, total: 4, totalIsEstimate: false, nextCursor: NEXT[at] ?? null };
  return (
    <>
      <output>{at || "newest"}</output>
      <button type="button" onClick={() => filters.set({ status: "failed" })}>
        Filter
      </button>
      <Pager paging={paging} page={page} what="things" busy={false} />
    </>
  );
}

/** A list of pages "a", "b", "c" after the newest one; as after a reload, it knows only what the tab has kept. */
async function open(path: string) {
  vi.resetModules();
  const parts: Parts = { ...(await import("./filters")), ...(await import("../ui/Pager")) };
  const { hook, searchHook, navigate } = memoryLocation({ path });
  const { unmount } = render(
    <Router hook={hook} searchHook={searchHook}>
      <List {...parts} />
    </Router>,
  );
  return { unmount, navigate };
}

const shown = () => screen.getByText(/^(newest|[abc])$/).textContent;
const press = (name: string) => user.click(screen.getByRole("button", { name }));

describe("from page to page", () => {
  it("leads to the page before, also after a reload", async () => {
    const { unmount } = await open("/history");
    expect(screen.getByRole("button", { name: "Newer" })).toBeDisabled();
    for (const next of ["a", "b", "c"]) {
      await press("Older");
      expect(shown()).toBe(next);
    }
    unmount();

    await open("/history?after=b");
    await press("Newer");
    expect(shown()).toBe("a");
    await press("Newer");
    expect(shown()).toBe("newest");
    expect(screen.getByRole("button", { name: "Newer" })).toBeDisabled();
  });

  it("leads to the page before the one that is shown, wherever the browser's Back has led", async () => {
    const { navigate } = await open("/history");
    await press("Older");
    await press("Older");
    navigate("/history?after=a");
    await vi.waitFor(() => expect(shown()).toBe("a"));
    await press("Newer");
    expect(shown()).toBe("newest");
  });

  it("knows no page before one that a link has led to, and always the newest", async () => {
    await open("/history?after=b");
    expect(screen.getByRole("button", { name: "Newer" })).toBeDisabled();
    await press("Newest");
    expect(shown()).toBe("newest");
  });

  it("begins at the newest page of what is filtered", async () => {
    await open("/history");
    await press("Older");
    await press("Filter");
    expect(shown()).toBe("newest");
  });
});
