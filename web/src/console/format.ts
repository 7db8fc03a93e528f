// Numbers as people read them. Pure.

/** `3:07`, `1:02:05` */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(Number.isFinite(seconds) ? seconds : 0));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** `812 B`, `1.5 MB`, as disks are counted. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, at] = [Math.max(0, Number.isFinite(count) ? count : 0), 0];
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  const digits = at > 0 && value < 9.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[at]}`;
}

/** `0.42 cores` */
export function cores(count: number): string {
  return `${count.toFixed(2)} ${count.toFixed(2) === "1.00" ? "core" : "cores"}`;
}

/** `1 frame`, `2 frames` */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** How long ago it was: `just now`, `5 min ago`, `3 h ago`, `2 days ago`. */
export function ago(seconds: number): string {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${counted(Math.floor(seconds / 86_400), "day")} ago`;
}

/** Nanoseconds in a string, as LiveKit writes times, as seconds. */
export function seconds(nanoseconds: string | undefined): number {
  return Number(nanoseconds ?? 0) / 1e9 || 0;
}
