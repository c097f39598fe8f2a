// SPDX-License-Identifier: MIT
// The data of conversations' images, by id, in the browser's IndexedDB: localStorage, which holds the conversations, has
// room for five million characters. Where there is no IndexedDB (some private windows), images live as long as the page.

const NAME = "spillway";
const TABLE = "images";

export class ImageStore {
  #database;  // promise of an IDBDatabase, or of null

  constructor(factory = globalThis.indexedDB) {
    this.#database = opened(factory);
  }

  // Whether it is kept.
  put(id, data) {
    return this.#use("readwrite", (table) => table.put(data, id)).then((key) => key === id);
  }

  // null: it is not there.
  get(id) {
    return this.#use("readonly", (table) => table.get(id)).then((data) => (typeof data === "string" ? data : null));
  }

  remove(id) {
    return this.#use("readwrite", (table) => table.delete(id));
  }

  // Removes all that `isWanted(id)` does not hold of.
  async sweep(isWanted) {
    const ids = (await this.#use("readonly", (table) => table.getAllKeys())) ?? [];
    await Promise.all(ids.filter((id) => !isWanted(id)).map((id) => this.remove(id)));
  }

  // null where it fails.
  async #use(mode, ask) {
    const database = await this.#database;
    if (!database) return null;
    return new Promise((resolve) => {
      try {
        const transaction = database.transaction(TABLE, mode);
        const request = ask(transaction.objectStore(TABLE));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = transaction.onerror = () => resolve(null);
      } catch {
        resolve(null);
      }
    });
  }
}

function opened(factory) {
  return new Promise((resolve) => {
    try {
      const request = factory.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
      request.onsuccess = () => resolve(request.result);
      request.onerror = request.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}
