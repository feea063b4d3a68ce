/**
 * Clerk's sign-in. Its script comes from the instance's own address, without any of its forms: whoever has to sign in
 * is sent to Clerk's page and comes back, so this page needs no other styles or scripts than its own.
 */
import type { GetToken } from "../api/connection";
import type { Session } from "./session";

interface Clerk {
  load: () => Promise<void>;
  session: { getToken: GetToken } | null | undefined;
  user: { fullName: string | null; username: string | null } | null | undefined;
  redirectToSignIn: (options: {
    signInForceRedirectUrl: string;
    signInFallbackRedirectUrl: string;
  }) => Promise<unknown>;
  signOut: () => Promise<void>;
}

declare global {
  interface Window {
    Clerk?: Clerk;
  }
}

let loading: Promise<Clerk> | null = null;

/** The host that a publishable key names: its third part, in base 64, without the dollar at its end. */
export function frontendApi(publishableKey: string): string {
  const encoded = /^pk_(?:live|test)_([A-Za-z0-9+/=_-]+)$/.exec(publishableKey)?.[1];
  const host = encoded ? atob(encoded.replace(/-/g, "+").replace(/_/g, "/")).replace(/\$$/, "") : "";
  if (!/^[a-z0-9.-]+$/i.test(host)) throw new Error("CLERK_PUBLISHABLE_KEY is no key of Clerk's");
  return host;
}

function load(publishableKey: string): Promise<Clerk> {
  loading ??= new Promise<Clerk>((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `https://${frontendApi(publishableKey)}/npm/@clerk/clerk-js@5/dist/clerk.headless.browser.js`;
    script.async = true;
    script.crossOrigin = "anonymous";
    script.dataset.clerkPublishableKey = publishableKey;
    script.onerror = () => reject(new Error("Clerk's sign-in cannot be loaded"));
    script.onload = () => {
      const clerk = window.Clerk;
      if (clerk) clerk.load().then(() => resolve(clerk), reject);
      else reject(new Error("Clerk's sign-in did not start"));
    };
    document.head.append(script);
  }).catch((error: unknown) => {
    loading = null;
    throw error;
  });
  return loading;
}

/** Who is signed in at Clerk, null where nobody is. */
export async function resume(publishableKey: string): Promise<Session | null> {
  const clerk = await load(publishableKey);
  if (!clerk.session) return null;
  return {
    name: clerk.user?.fullName ?? clerk.user?.username ?? "Signed in",
    getToken: async (options) => (await clerk.session?.getToken(options)) ?? null,
    signOut: () => clerk.signOut(),
  };
}

/** Leaves for Clerk's page, which leads back here. */
export async function signIn(publishableKey: string): Promise<void> {
  const clerk = await load(publishableKey);
  const here = window.location.href;
  await clerk.redirectToSignIn({ signInForceRedirectUrl: here, signInFallbackRedirectUrl: here });
}
