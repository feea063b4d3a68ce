import {
  type ColumnDef,
  flexRender,
  getCoreRowModel,
  getSortedRowModel,
  type RowData,
  type SortingState,
  useReactTable,
} from "@tanstack/react-table";
import { useState } from "react";

declare module "@tanstack/react-table" {
  interface ColumnMeta<TData extends RowData, TValue> {
    /** Aligned to the right, in figures of one width. */
    numeric?: boolean;
    /** Of the first column: names the row. */
    heads?: boolean;
    /** Left out where a row is shown as a card. */
    wide?: boolean;
  }
}

interface DataTableProps<T> {
  caption: string;
  data: readonly T[];
  // biome-ignore lint/suspicious/noExplicitAny: a table's columns hold values of different types
  columns: ColumnDef<T, any>[];
  rowKey: (row: T) => string;
  sortable?: boolean;
  /** Shown again while the next answer is on its way. */
  busy?: boolean;
}

/**
 * A table that becomes a list of cards where it is narrow. It says its roles itself: browsers forget them where its
 * parts are no longer laid out as a table.
 */
export function DataTable<T>({ caption, data, columns, rowKey, sortable = false, busy = false }: DataTableProps<T>) {
  const [sorting, setSorting] = useState<SortingState>([]);
  const table = useReactTable<T>({
    data: data as T[],
    columns,
    state: { sorting },
    onSortingChange: setSorting,
    enableSorting: sortable,
    getRowId: rowKey,
    getCoreRowModel: getCoreRowModel(),
    ...(sortable && { getSortedRowModel: getSortedRowModel() }),
  });
  const headers = table.getHeaderGroups().flatMap((group) => group.headers);
  return (
    <table className="sp-table" role="table" aria-busy={busy || undefined}>
      <caption className="sp-hidden">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {headers.map(({ id, column, getContext }) => {
            const sorted = column.getIsSorted();
            const label = flexRender(column.columnDef.header, getContext());
            return (
              <th
                key={id}
                role="columnheader"
                scope="col"
                className={column.columnDef.meta?.numeric ? "sp-numeric" : undefined}
                aria-sort={sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : undefined}
              >
                {column.getCanSort() ? (
                  <button type="button" className="sp-sort" onClick={column.getToggleSortingHandler()}>
                    {label}
                    <span aria-hidden="true">{sorted === "asc" ? " ↑" : sorted === "desc" ? " ↓" : ""}</span>
                  </button>
                ) : (
                  label
                )}
              </th>
            );
          })}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {table.getRowModel().rows.map((row) => (
          <tr key={row.id} role="row">
            {row.getVisibleCells().map(({ id, column, getContext }) => {
              const { meta, header } = column.columnDef;
              const names = `${meta?.numeric ? "sp-numeric" : ""}${meta?.wide ? " sp-wide-only" : ""}`;
              const content = flexRender(column.columnDef.cell, getContext());
              const label = typeof header === "string" ? header : undefined;
              return meta?.heads ? (
                <th key={id} role="rowheader" scope="row">
                  {content}
                </th>
              ) : (
                <td key={id} role="cell" className={names || undefined} data-label={label}>
                  {content}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
