// A table by column, found by id: rows are appended or changed, never moved.

export class Columns {
  constructor(columns) {
    this.names = Object.keys(columns);
    for (const name of this.names) this[name] = columns[name];
    this.at = new Map(this.id.map((id, row) => [id, row]));
  }

  get size() { return this.id.length; }

  row(id) { return this.at.get(id); }

  // The row of an id, appended with these values where there is none.
  put(id, values) {
    let row = this.at.get(id);
    if (row === undefined) {
      row = this.id.length;
      this.at.set(id, row);
      for (const name of this.names) this[name].push(name === 'id' ? id : null);
    }
    for (const name in values) if (this[name]) this[name][row] = values[name];
    return row;
  }

  // One row as an object, for what shows a single thing.
  get(id) {
    const row = this.at.get(id);
    return row === undefined ? null : Object.fromEntries(this.names.map(name => [name, this[name][row]]));
  }
}
