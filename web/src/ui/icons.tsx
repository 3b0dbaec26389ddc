// Icons of one stroke, on a grid of 16. They are decoration: the button has the words.

const PATHS = {
  chat: "M2.5 3.5h11v7.2h-6L4.4 13v-2.3H2.5z",
  units: "M2.5 2.5h4.4v4.4H2.5zM9.1 2.5h4.4v4.4H9.1zM2.5 9.1h4.4v4.4H2.5zM9.1 9.1h4.4v4.4H9.1z",
  key: "M9.6 9.4a3.2 3.2 0 1 0-3-3L2.5 10.5v3h3v-1.7h1.7v-1.7z",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.3 10.3l3.2 3.2",
  send: "M8 13V3.5M3.8 7.5 8 3.3l4.2 4.2",
  stop: "M4.5 4.5h7v7h-7z",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  check: "M3 8.5 6.5 12 13 4.5",
  retry: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3.2H9.8",
  edit: "M10.5 3 13 5.5 6 12.5l-3 .5.5-3z",
  left: "M10 3 5 8l5 5",
  right: "M6 3l5 5-5 5",
  down: "M3.5 6 8 10.5 12.5 6",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  close: "M3.8 3.8l8.4 8.4M12.2 3.8l-8.4 8.4",
  image: "M2.5 3h11v10h-11zM2.5 11l3-3 2.5 2.5 2-2 3.5 3M5.8 6.2h.01",
  sliders: "M2.5 4.5h6M12 4.5h1.5M2.5 11.5H4M7.5 11.5h6M10.3 2.8v3.4M5.7 9.8v3.4",
  code: "M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5",
  columns: "M2.5 3h11v10h-11zM8 3v10",
  events: "M2.5 4h11M2.5 8h11M2.5 12h7",
  download: "M8 2.5v7.5M4.5 6.8 8 10.2l3.5-3.4M3 13.5h10",
  upload: "M8 10.5V3M4.5 6.2 8 2.8l3.5 3.4M3 13.5h10",
  thought: "M8 2.5a4 4 0 0 0-2 7.5v1.5h4V10a4 4 0 0 0-2-7.5zM6.5 13.5h3",
  tool: "M9.5 6.5 13 3a3.5 3.5 0 0 1-4.7 4.7L4 12.5 3 11.5 7.8 7A3.5 3.5 0 0 1 12 2.5",
  warning: "M8 2.5 14 13H2zM8 6.5v3M8 11.4v.01",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  trash: "M3 4.5h10M6 4.5V3h4v1.5M4.5 4.5l.5 9h6l.5-9",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The feather of the program, as in `icon.svg`. */
export function Feather() {
  return (
    <svg class="feather" viewBox="0 0 16 16" aria-hidden="true">
      <path d="M2 14 6 9C5 4 10 1 14 2c1 4-2 9-7 8z" />
    </svg>
  );
}
