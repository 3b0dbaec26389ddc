// Numbers and times as people read them. The page is in English, whatever the browser prefers.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const dayInUtc = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  timeZone: "UTC",
});
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** `9,120`. */
export function count(number: number | bigint): string {
  return whole.format(number);
}

/** `9,120`, and from ten thousand on `12.4K`. */
export function compact(number: number | bigint): string {
  return Number(number) < 10_000 ? whole.format(number) : short.format(number);
}

/** One thing or several: `1 call`, `3 calls`. */
export function several(number: number | bigint, one: string, many = `${one}s`): string {
  return `${count(number)} ${Number(number) === 1 ? one : many}`;
}

/** A length of time: `320 ms`, `2.5 s`, `42 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return two(Math.floor(seconds / 60), "min", seconds % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1_440) return two(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  return two(Math.floor(hours / 24), "d", hours % 24, "h");
}

function two(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** `now`, `5 min ago`, and `in 3 d`. Only the largest unit. */
export function relative(at: number, now: number): string {
  const seconds = Math.round(Math.abs(now - at) / 1_000);
  if (seconds < 5) return "now";
  const length =
    seconds < 60
      ? `${seconds} s`
      : seconds < 3_600
        ? `${Math.floor(seconds / 60)} min`
        : seconds < 86_400
          ? `${Math.floor(seconds / 3_600)} h`
          : `${Math.floor(seconds / 86_400)} d`;
  return at < now ? `${length} ago` : `in ${length}`;
}

/** `29 Nov 2026`. */
export function date(at: number): string {
  return day.format(at);
}

/** The day of a moment in UTC: `29 Nov`. */
export function utcDay(at: number): string {
  return dayInUtc.format(at);
}

/** `29 Nov 2026, 13:32`. */
export function dateAndTime(at: number): string {
  return moment.format(at);
}
