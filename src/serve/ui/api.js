// SPDX-License-Identifier: MIT
// The server's endpoints. Errors carry the sentence the server gave.
import {NdjsonReader} from "./ndjson.js";

const KEY = "spillway.api_key";  // for this tab alone: sessionStorage

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const apiKey = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY)),
};

async function request(method, path, body, signal) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (apiKey.get()) headers["Authorization"] = `Bearer ${apiKey.get()}`;
  let response;
  try {
    response = await fetch(path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal});
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new ApiError("The server does not answer. Is spillway serve still running?", 0);
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text.trim();
  try {
    const {error} = JSON.parse(text);
    message = typeof error === "string" ? error : (error?.message ?? message);
  } catch {
    // Not every path answers in JSON.
  }
  if (response.status === 401) dispatchEvent(new CustomEvent("spillway-key-needed"));
  throw new ApiError(message || `The server answered ${response.status} ${response.statusText}`, response.status);
}

export const getJson = async (path, signal) => (await request("GET", path, undefined, signal)).json();
export const postJson = async (path, body) => (await request("POST", path, body)).json();
export const deleteModel = async (model) => void (await request("DELETE", "/api/delete", {model}));

// Each object of an NDJSON answer as it arrives. Throws ApiError for an "error" in the stream too.
export async function* postStream(path, body, signal) {
  const response = await request("POST", path, body, signal);
  const lines = new NdjsonReader();
  const decoder = new TextDecoder();
  const bytes = response.body.getReader();
  const checked = (object) => {
    if (object.error === undefined) return object;
    throw new ApiError(typeof object.error === "string" ? object.error : object.error.message, object.status ?? 200);
  };
  try {
    for (;;) {
      const {done, value} = await bytes.read();
      const objects = done ? lines.end() : lines.push(decoder.decode(value, {stream: true}));
      for (const object of objects) yield checked(object);
      if (done) return;
    }
  } catch (failure) {
    if (failure instanceof ApiError || failure.name === "AbortError") throw failure;
    throw new ApiError("The connection broke in the middle of the answer.", 0);
  } finally {
    bytes.cancel().catch(() => {});
  }
}
