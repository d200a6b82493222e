// Numbers of the kernel as text.

export function hex(value) {
  const number = BigInt(value);
  return `0x${(number < 0n ? number + (1n << 64n) : number).toString(16)}`;
}

// A table of a record: each field with its value and what it means.
export function recordRows(data, name, values) {
  return data.records[name].fields
    .filter((field) => field.count === 0)
    .map((field) => {
      const value = values[field.name];
      const named = field.name === "type" ? data.types[Number(value)] : field.name === "kind" ? data.classes[Number(value)] : "";
      const shown = named ? `${value} (${named})` : field.record || field.meaning.startsWith("VA") ? hex(value) : value.toLocaleString("en");
      return { name: field.name, shown, meaning: field.meaning };
    });
}
