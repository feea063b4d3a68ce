import type { Paging } from "../panel/filters";
import { Button } from "./Button";
import { count } from "./words";

interface PagerProps {
  paging: Paging;
  page: { page: number; total: number; totalIsEstimate: boolean; nextCursor: string | null } | undefined;
  what: string;
  busy: boolean;
}

/** From page to page of a list, newest first; what is added meanwhile shifts none of them. */
export function Pager({ paging, page, what, busy }: PagerProps) {
  return (
    <nav className="sp-pager" aria-label={`Pages of ${what}`}>
      <span className="sp-faint" role="status">
        {page && `${page.totalIsEstimate ? "About " : ""}${count(page.total)} ${what}, page ${count(page.page)}`}
      </span>
      <div className="sp-actions">
        {paging.cursor !== undefined && (
          <Button small onClick={paging.newest} disabled={busy}>
            Newest
          </Button>
        )}
        <Button small onClick={paging.newer} disabled={busy || !paging.hasNewer}>
          Newer
        </Button>
        <Button
          small
          onClick={() => page?.nextCursor && paging.older(page.nextCursor)}
          disabled={busy || !page?.nextCursor}
        >
          Older
        </Button>
      </div>
    </nav>
  );
}
