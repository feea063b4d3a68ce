import { Fragment } from "react";
import { Link } from "wouter";
import { Time } from "./Time";
import { shortId } from "./words";

const JOB = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const MOMENT = "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(?:\\.\\d+)?Z";
const NAMED = new RegExp(`\\b(${JOB}|${MOMENT})\\b`);

/** A sentence of the API in which the jobs it names can be opened, and its times are by the viewer's clock. */
export function LinkedText({ text }: { text: string }) {
  return text.split(NAMED).map((part, number) => {
    // Every other part is one of those that were looked for.
    const isText = number % 2 === 0;
    const shown = isText ? part : part.endsWith("Z") ? <Time at={part} stop /> : jobLink(part);
    // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text have no other name
    return <Fragment key={number}>{shown}</Fragment>;
  });
}

function jobLink(id: string) {
  return <Link href={`/jobs/${id}`}>{shortId(id)}</Link>;
}
