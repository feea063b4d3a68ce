import { createContext, type ReactNode, useContext, useMemo, useState } from "react";

/** In which zone times are shown. */
export type Zone = "local" | "utc";

const ZoneContext = createContext<{ zone: Zone; setZone: (zone: Zone) => void }>({ zone: "local", setZone: () => {} });

export function ZoneProvider({ children }: { children: ReactNode }) {
  const [zone, setZone] = useState<Zone>("local");
  const value = useMemo(() => ({ zone, setZone }), [zone]);
  return <ZoneContext value={value}>{children}</ZoneContext>;
}

export const useZone = () => useContext(ZoneContext);
