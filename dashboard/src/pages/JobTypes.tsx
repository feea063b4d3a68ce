import { useQuery } from "@tanstack/react-query";
import { POLL, useInterval, usePanel } from "../panel/context";
import { useHeading } from "../panel/useHeading";
import { Empty, ErrorNotice, Skeleton } from "../ui/notices";
import { TypeCard } from "./types/TypeCard";

/** What can be run, when it runs by itself, and how it has been doing. */
export default function JobTypes() {
  const { queries } = usePanel();
  const heading = useHeading("Job types");
  const types = useQuery({ ...queries.types(), refetchInterval: useInterval(POLL.jobTypes) });
  return (
    <>
      <div className="sp-page-head">
        <h1 {...heading}>Job types</h1>
      </div>
      {types.isError && (
        <ErrorNotice
          error={types.error}
          what={types.data ? "The job types may have changed since" : "The job types cannot be shown"}
          onRetry={() => void types.refetch()}
        />
      )}
      {types.data ? (
        <div className="sp-types">
          {types.data.map((type) => (
            <TypeCard key={type.jobType} type={type} />
          ))}
          {types.data.length === 0 && <Empty title="There are no job types" />}
        </div>
      ) : (
        types.isPending && <Skeleton lines={12} what="the job types" />
      )}
    </>
  );
}
