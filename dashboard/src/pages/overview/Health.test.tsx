import { screen, waitFor } from "@testing-library/react";
import { expect, it } from "vitest";
import { keys } from "../../api/queries";
import { FakeApi, noNetwork } from "../../testing/api";
import { mount } from "../../testing/panel";
import { Health } from "./Health";

const part = (name: string) => screen.getByText(name).closest("li");

it("calls nothing well while the shim, which would tell, is down", async () => {
  const checks = ["database", "prefect", "workers", "jwks"].map((name) => ({ name, ok: true, detail: "Answers." }));
  new FakeApi()
    .on("GET /api/config", { version: "abc" })
    .on("GET /api/system", { status: "healthy", checks }, noNetwork);
  const { panel } = mount(<Health />);
  await waitFor(() => expect(screen.getAllByText("Well")).toHaveLength(5));
  await panel.cache.refetchQueries({ queryKey: keys.system });
  expect(await screen.findAllByText("Not known")).toHaveLength(4);
  expect(part("Shim")).toHaveTextContent("Down");
  expect(part("Database")).toHaveTextContent("Not known while the shim does not answer.");
  expect(screen.queryByText("Well")).toBeNull();
});
