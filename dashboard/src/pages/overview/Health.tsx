import { useQuery } from "@tanstack/react-query";
import { useStore } from "../../api/store";
import type { SystemView } from "../../api/types";
import { POLL, usePanel } from "../../panel/context";
import { CheckIcon, CrossIcon, WarningIcon } from "../../ui/icons";
import { ErrorNotice } from "../../ui/notices";
import { Time } from "../../ui/Time";

type Check = Pick<SystemView["checks"][number], "ok" | "detail" | "since">;

const NAMES = { database: "Database", prefect: "Prefect", workers: "Worker", jwks: "Sign-in keys" } as const;

// The others are looked after by the shim: what it said last is no news any more.
const UNASKED: Check = { ok: null, detail: "Not known while the shim does not answer.", since: null };

/** Whether each part of the scheduler is well, in a word; and what was found, in a sentence. */
export function Health() {
  const { queries, connection } = usePanel();
  const reachable = useStore(connection.reachable);
  const system = useQuery({ ...queries.system(), refetchInterval: POLL.system * 1000 });
  const config = useQuery(queries.config());
  const shim: Check = {
    ok: reachable,
    detail: reachable ? `Answers; version ${config.data?.version ?? "not known yet"}.` : "Does not answer.",
    since: null,
  };
  const checks = system.data?.checks ?? [];
  return (
    <section className="sp-card" aria-labelledby="sp-health">
      <div className="sp-card-head">
        <h2 id="sp-health">Health</h2>
      </div>
      {system.isError && <ErrorNotice error={system.error} what="The health of the parts cannot be shown" />}
      <ul className="sp-health">
        <Part name="Shim" check={shim} />
        {(Object.keys(NAMES) as (keyof typeof NAMES)[]).map((name) => (
          <Part
            key={name}
            name={NAMES[name]}
            check={reachable ? checks.find((check) => check.name === name) : UNASKED}
          />
        ))}
      </ul>
    </section>
  );
}

function Part({ name, check }: { name: string; check: Check | undefined }) {
  const [look, word, Icon] =
    check === undefined || check.ok === null
      ? (["unknown", check ? "Not known" : "Asking", WarningIcon] as const)
      : check.ok
        ? (["good", "Well", CheckIcon] as const)
        : (["bad", "Down", CrossIcon] as const);
  return (
    <li className={`sp-part sp-part-${look}`}>
      <span className="sp-part-name">{name}</span>
      <span className="sp-part-state">
        <Icon />
        {word}
      </span>
      <span className="sp-part-detail">
        {check?.detail}
        {check?.ok === false && check.since && (
          <>
            {" "}
            Since <Time at={check.since} stop />.
          </>
        )}
      </span>
    </li>
  );
}
