import { useQuery } from "@tanstack/react-query";
import { type MouseEvent, type ReactNode, Suspense, useEffect, useRef } from "react";
import { Link, Route, Switch, useRoute } from "wouter";
import { useStore } from "../api/store";
import { Skeleton } from "../ui/notices";
import { AccessPage } from "./AccessPage";
import { Boundary } from "./Boundary";
import { usePanel } from "./context";
import { LiveMark } from "./LiveMark";
import { PauseBanner } from "./PauseBanner";
import { Audit, fetchAll, History, JobPage, JobTypes, Overview } from "./pages";
import { ThemeSwitch, ZoneSwitch } from "./Switches";
import type { Theme } from "./theme";
import { useHeading } from "./useHeading";

const FETCHED_AFTER_MS = 2_000;

interface LayoutProps {
  account: ReactNode;
  theme: Theme;
  onTheme?: (theme: Theme) => void;
}

/** The bar with the ways between pages, what concerns all of them, and the page that the address names. */
export function Layout({ account, theme, onTheme }: LayoutProps) {
  const { connection, ownsAddress } = usePanel();
  const access = useStore(connection.access);
  const content = useRef<HTMLElement>(null);
  // The address may be the host's, which has its own use for what follows a hash.
  const skip = (event: MouseEvent) => {
    event.preventDefault();
    content.current?.focus();
  };
  // A page has one main part, and where the panel is only a piece of it the host says which.
  const [Content, label] = ownsAddress ? (["main", undefined] as const) : (["section", "Scheduler"] as const);
  return (
    <>
      {/* biome-ignore lint/a11y/useValidAnchor: it does lead there, only not by the address */}
      <a className="sp-skip" href="#sp-main" onClick={skip}>
        Skip to the content
      </a>
      <header className="sp-bar">
        <span className="sp-brand">Scheduler</span>
        <nav className="sp-nav" aria-label="Scheduler">
          <NavLink to="/">Overview</NavLink>
          <NavLink to="/job-types">Job types</NavLink>
          <NavLink to="/history" also="/jobs/:id">
            History
          </NavLink>
          <NavLink to="/audit">Audit</NavLink>
        </nav>
        <div className="sp-bar-end">
          {access === "ok" && <LiveMark />}
          <ZoneSwitch />
          {onTheme && <ThemeSwitch theme={theme} onTheme={onTheme} />}
          {account && <div className="sp-account">{account}</div>}
        </div>
      </header>
      <Content className="sp-main" id="sp-main" aria-label={label} tabIndex={-1} ref={content}>
        <Boundary key={access} what="This page cannot be shown">
          {access === "ok" ? <Pages /> : <AccessPage access={access} />}
        </Boundary>
      </Content>
    </>
  );
}

function NavLink({ to, also, children }: { to: string; also?: string; children: ReactNode }) {
  const [here] = useRoute(to === "/" ? "/" : `${to}/*?`);
  const [there] = useRoute(also ?? to);
  const isCurrent = here || there;
  return (
    <Link href={to} className="sp-nav-link" aria-current={isCurrent ? "page" : undefined}>
      {children}
    </Link>
  );
}

function Pages() {
  const { queries } = usePanel();
  // Titles of job types are wanted on every page.
  useQuery(queries.types());
  useEffect(() => {
    // What is looked at first has the line for itself.
    const timer = setTimeout(fetchAll, FETCHED_AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <>
      <PauseBanner />
      <Suspense fallback={<Skeleton lines={8} what="the page" />}>
        <Switch>
          <Route path="/" component={Overview} />
          <Route path="/job-types" component={JobTypes} />
          <Route path="/history" component={History} />
          <Route path="/jobs/:id">{({ id }) => <JobPage key={id} id={id} />}</Route>
          <Route path="/audit" component={Audit} />
          <Route component={NoSuchPage} />
        </Switch>
      </Suspense>
    </>
  );
}

function NoSuchPage() {
  const heading = useHeading("No such page");
  return (
    <>
      <div className="sp-page-head">
        <h1 {...heading}>There is no such page</h1>
      </div>
      <p>
        <Link href="/">Go to the overview</Link>
      </p>
    </>
  );
}
