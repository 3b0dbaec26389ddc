import { signal } from "@preact/signals";

/** The views, by the part of the address after `#/`. */
export const VIEWS = ["chat", "units", "keys"] as const;
export type View = (typeof VIEWS)[number];

function read(): View {
  const name = location.hash.replace(/^#\/?/, "");
  return VIEWS.find((view) => view === name) ?? "chat";
}

export const view = signal<View>(read());
addEventListener("hashchange", () => (view.value = read()));
