// Numbers as text, as the command line prints them.

const PREFIXES = "KMGTPE";
const FORMATS = [0, 1, 2, 3].map((digits) => new Intl.NumberFormat("en-US", { maximumFractionDigits: digits }));

// 1234567 as 1,234,567; of what is no whole number, at most `digits` digits behind the point, three at most.
export function grouped(number, digits = 0) {
  return FORMATS[digits].format(number);
}

// A number with so many digits behind the point; halves are rounded to even, as Python does it.
function rounded(number, digits) {
  const scaled = number * 10 ** digits;
  const below = Math.floor(scaled);
  const whole = scaled - below === 0.5 ? below + (below % 2) : Math.round(scaled);
  return (whole / 10 ** digits).toFixed(digits);
}

// A byte count with its unit and three digits or so: 556 B, 64 KiB, 15.9 GiB.
export function sizeText(count) {
  let power = 0;
  while (power < PREFIXES.length && count >= 1024 ** (power + 1)) power++;
  const unit = 1024 ** power;
  const digits = count >= 100 * unit || count % unit === 0 ? 0 : 1;
  return `${rounded(count / unit, digits)} ${power ? `${PREFIXES[power - 1]}iB` : "B"}`;
}

// A share of 1 in percent: 45.5%.
export function percent(share) {
  return `${rounded(share * 100, 1)}%`;
}

// "1 frame", "12 frames".
export function several(count, noun) {
  return `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
}

// A range of addresses, as /proc/iomem prints it.
export function addresses(base, size) {
  const hexadecimal = (address) => address.toString(16).padStart(8, "0");
  return `${hexadecimal(base)}-${hexadecimal(base + size - 1)}`;
}

// How often something happened, a count or a rate: 0 only where it never did.
export function rateText(value) {
  if (Number.isInteger(value)) return grouped(value);
  if (value >= 100) return grouped(Math.round(value));
  return value >= 1 ? rounded(value, 1) : String(Number(value.toPrecision(2)));
}

// A value in the unit of its column: bytes with their unit, shares in percent, counts in full.
export function valueText(value, unit) {
  if (value === null) return "-";
  if (unit === "bytes") return `${grouped(value)} bytes (${sizeText(value)})`;
  if (unit === "share") return percent(value);
  return `${grouped(value, 3)} ${unit}`;
}
