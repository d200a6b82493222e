// Records by the tables that are made of their declarations (web/image.py).

const known = new Map();

// The fields of a record, by name.
export function fieldsOf(records, name) {
  const key = records[name];
  if (!known.has(key)) known.set(key, Object.fromEntries(key.fields.map((field) => [field.name, field])));
  return known.get(key);
}

// A number of a record that lies at `at`: narrow fields have no sign.
export function readField(view, at, field) {
  const where = at + field.offset;
  if (field.bytes === 1) return BigInt(view.getUint8(where));
  if (field.bytes === 2) return BigInt(view.getUint16(where, true));
  if (field.bytes === 4) return BigInt(view.getUint32(where, true));
  return where + 8 <= view.byteLength ? view.getBigInt64(where, true) : 0n;
}
