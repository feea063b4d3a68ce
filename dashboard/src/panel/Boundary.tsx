import { Component, type ReactNode } from "react";
import { useLocation } from "wouter";
import { Button } from "../ui/Button";
import { ErrorNotice } from "../ui/notices";

interface BoundaryProps {
  what: string;
  children: ReactNode;
}

interface Kept extends BoundaryProps {
  location: string;
}

interface Caught {
  error: Error | null;
}

/** Keeps a mistake in one part from taking the panel, and the host's whole page, with it; another address begins anew. */
export function Boundary(props: BoundaryProps) {
  const [location] = useLocation();
  return <Catching {...props} location={location} />;
}

// React tells only classes of errors.
class Catching extends Component<Kept, Caught> {
  override state: Caught = { error: null };

  static getDerivedStateFromError(thrown: unknown): Caught {
    return { error: thrown instanceof Error ? thrown : new Error(String(thrown)) };
  }

  override componentDidUpdate(before: Kept, { error }: Caught): void {
    if (error !== null && before.location !== this.props.location) this.setState({ error: null });
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === null) return this.props.children;
    return (
      <div className="sp-stack">
        <ErrorNotice error={error} what={this.props.what} />
        <div className="sp-actions">
          <Button onClick={() => window.location.reload()}>Reload</Button>
        </div>
      </div>
    );
  }
}
