import { screen } from "@testing-library/react";
import { expect, it, vi } from "vitest";
import { Link, Route, Switch } from "wouter";
import { mount } from "../testing/panel";
import { user } from "../testing/user";
import { Boundary } from "./Boundary";

function Broken(): never {
  throw new Error("No such field");
}

it("says what is wrong in place of what is broken, and begins anew at another address", async () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  mount(
    <>
      <Link href="/">Whole</Link>
      <Link href="/one">One</Link>
      <Link href="/two">Two</Link>
      <Boundary what="This page cannot be shown">
        <Switch>
          <Route path="/">All is well</Route>
          <Route component={Broken} />
        </Switch>
      </Boundary>
    </>,
  );
  for (const broken of ["One", "Two"]) {
    await user.click(screen.getByRole("link", { name: broken }));
    expect(screen.getByRole("alert")).toHaveTextContent(/This page cannot be shown.*No such field/);
    expect(screen.getByRole("button", { name: "Reload" })).toBeVisible();
  }
  await user.click(screen.getByRole("link", { name: "Whole" }));
  expect(screen.getByText("All is well")).toBeVisible();
});
