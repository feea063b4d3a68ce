/** Small drawings, 16 by 16, in the colour of the text around them. They say nothing by themselves: words do. */
import type { ReactNode } from "react";

function Icon({ children, className }: { children: ReactNode; className?: string }) {
  return (
    <svg className={`sp-icon ${className ?? ""}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const CheckIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="7" className="sp-icon-disc" />
    <path d="m4.8 8.3 2.2 2.2 4.3-4.6" className="sp-icon-mark" />
  </Icon>
);
export const CrossIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="7" className="sp-icon-disc" />
    <path d="m5.6 5.6 4.8 4.8m0-4.8-4.8 4.8" className="sp-icon-mark" />
  </Icon>
);
export const StopIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="6.2" />
    <path d="m3.8 12.2 8.4-8.4" />
  </Icon>
);
export const ClockIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="6.2" />
    <path d="M8 4.6V8l2.2 1.5" />
  </Icon>
);
export const SpinnerIcon = () => (
  <Icon className="sp-spin">
    <circle cx="8" cy="8" r="6.2" className="sp-icon-track" />
    <path d="M8 1.8A6.2 6.2 0 0 1 14.2 8" />
  </Icon>
);
export const WarningIcon = () => (
  <Icon>
    <path d="M8 2 14.6 13.6H1.4Z" />
    <path d="M8 6.4v3.4M8 11.6v.2" />
  </Icon>
);
export const PauseIcon = () => (
  <Icon>
    <path d="M5.5 3.5v9m5-9v9" />
  </Icon>
);
export const PlayIcon = () => (
  <Icon>
    <path d="m5 3 7.5 5L5 13Z" />
  </Icon>
);
export const ExternalIcon = () => (
  <Icon>
    <path d="M6.5 3H3v10h10V9.5M9 3h4v4m0-4L7.5 8.5" />
  </Icon>
);
export const ChevronIcon = () => (
  <Icon className="sp-chevron">
    <path d="m6 3.5 4.5 4.5L6 12.5" />
  </Icon>
);
export const SunIcon = () => (
  <Icon>
    <circle cx="8" cy="8" r="3" />
    <path d="M8 1.2v1.6m0 10.4v1.6M1.2 8h1.6m10.4 0h1.6M3.2 3.2l1.1 1.1m7.4 7.4 1.1 1.1m0-9.6-1.1 1.1m-7.4 7.4-1.1 1.1" />
  </Icon>
);
export const MoonIcon = () => (
  <Icon>
    <path d="M13.4 9.6A5.8 5.8 0 0 1 6.4 2.6a5.8 5.8 0 1 0 7 7Z" />
  </Icon>
);
export const ClockFaceIcon = ClockIcon;
