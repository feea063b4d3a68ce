import { userEvent } from "@testing-library/user-event";

/** Somebody at the keyboard, who does not wait between two keys. */
export const user = userEvent.setup({ delay: null });
