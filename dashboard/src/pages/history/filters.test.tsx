import { fireEvent, screen, waitFor } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { useFilters } from "../../panel/filters";
import { FakeApi } from "../../testing/api";
import { mount } from "../../testing/panel";
import { user } from "../../testing/user";
import { fromLocalInput } from "../../ui/local";
import { HistoryFilters } from "./HistoryFilters";

const JOB = "0b6ff1f4-3f0c-4f4b-9a3c-0c8a8a0f5a11";

function Filtered() {
  const [filters] = useFilters();
  return <HistoryFilters filters={filters} />;
}

beforeEach(() => {
  new FakeApi().on("GET /api/job-types", { jobTypes: [] });
});

const field = (name: string) => screen.getByLabelText(name, { exact: true });
/** A control for dates has a whole one at each digit of its year. */
const typed = (name: string, text: string) => fireEvent.change(field(name), { target: { value: text } });
const address = (visited: string[]) => new URLSearchParams(visited.at(-1)?.split("?")[1]);

describe("the filters of the history", () => {
  it("are opened and put away where they are many for the screen, and say when they are in use", async () => {
    mount(<Filtered />, "/history?status=failed");
    const toggle = screen.getByRole("button", { name: "Filters (in use)" });
    expect(toggle).toHaveAttribute("aria-expanded", "false");
    await user.click(toggle);
    expect(screen.getByRole("button", { name: "Hide the filters" })).toHaveAttribute("aria-expanded", "true");
  });

  it("hold for a moment that has been typed whole, and leave one entry to go back over", () => {
    const { visited } = mount(<Filtered />, "/history");
    for (const year of ["0002", "0020", "0202", "20261"]) typed("From", `${year}-11-27T10:00`);
    expect(address(visited).get("from")).toBeNull();
    typed("From", "2026-11-27T10:00");
    expect(address(visited).get("from")).toBe(fromLocalInput("2026-11-27T10:00"));
    expect(field("From")).toHaveValue("2026-11-27T10:00");
    typed("From", "2026-11-27T10:05");
    expect(visited).toHaveLength(1);
    typed("From", "");
    expect(address(visited).get("from")).toBeNull();
  });

  it("do not let an interval end before it begins, and say so", () => {
    const from = fromLocalInput("2026-11-27T10:00");
    const { visited } = mount(<Filtered />, `/history?from=${from}`);
    expect(field("To")).toHaveAttribute("min", "2026-11-27T10:00");
    typed("To", "2026-11-26T10:00");
    fireEvent.blur(field("To"));
    expect(field("To")).toHaveAccessibleDescription(/before From/);
    expect(address(visited).get("to")).toBeNull();
    typed("To", "2026-11-28T10:00");
    expect(field("To")).toBeValid();
    expect(address(visited).get("to")).toBe(fromLocalInput("2026-11-28T10:00"));
  });

  it("follow the address where it changes beneath them", async () => {
    mount(<Filtered />, `/history?from=${fromLocalInput("2026-11-27T10:00")}`);
    expect(field("From")).toHaveValue("2026-11-27T10:00");
    await user.click(screen.getByRole("button", { name: "Clear all filters" }));
    expect(field("From")).toHaveValue("");
  });

  it("do not ask about half an id or one with spaces, and say why", async () => {
    const { visited } = mount(<Filtered />, "/history");
    await user.type(field("Shards of"), JOB.slice(0, 20));
    await user.type(field("Started by"), "Ada Admin");
    await waitFor(() => expect(field("Shards of")).toHaveAccessibleDescription(/no whole id/));
    await waitFor(() => expect(field("Started by")).toHaveAccessibleDescription(/no spaces/));
    expect(address(visited).toString()).toBe("");
    await user.type(field("Shards of"), JOB.slice(20));
    await waitFor(() => expect(address(visited).get("parent")).toBe(JOB));
    expect(field("Shards of")).toBeValid();
  });
});
