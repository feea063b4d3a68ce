import "@testing-library/jest-dom/vitest";
import { cleanup, configure } from "@testing-library/react";
import { afterEach } from "vitest";

// jsdom has the element but not its modal way of opening; what needs no document has neither.
if ("HTMLDialogElement" in globalThis) {
  HTMLDialogElement.prototype.showModal ??= function showModal(this: HTMLDialogElement) {
    this.open = true;
  };
  HTMLDialogElement.prototype.close ??= function close(this: HTMLDialogElement) {
    this.open = false;
    this.dispatchEvent(new Event("close"));
  };
}

// How long something may take that does come: on a machine that does much else besides, a second is nothing.
configure({ asyncUtilTimeout: 20_000 });

afterEach(cleanup);
