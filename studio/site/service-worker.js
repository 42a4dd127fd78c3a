// Keeps the site's files for when there is no network, and answers with them under the headers that the site is to have. The build puts
// BUILT before this: the cache's name, which changes with any file, the files and the headers.
/* global BUILT */
const { cache: name, files, headers } = BUILT;
const NAMES = "lowrank-studio-";
const here = new URL("./", self.location.href);
const kept = new Set(files.map((file) => new URL(file, here).pathname));

addEventListener("install", (event) => event.waitUntil(keepAll()));
addEventListener("activate", (event) => event.waitUntil(dropEarlier()));
addEventListener("fetch", (event) => {
  const path = keptPath(event.request);
  if (path !== undefined) event.respondWith(answer(event.request, path));
});

async function keepAll() {
  const cache = await caches.open(name);
  await cache.addAll([...kept].map((path) => new Request(path, { cache: "no-cache" })));
}

async function dropEarlier() {
  const names = await caches.keys();
  await Promise.all(names.filter((one) => one.startsWith(NAMES) && one !== name).map((one) => caches.delete(one)));
  await self.clients.claim();
}

/** The path of a file of the site that a request is for; undefined: it is none of ours. */
function keptPath({ method, url }) {
  const { origin, pathname } = new URL(url);
  const path = pathname === here.pathname ? `${pathname}index.html` : pathname;
  return method === "GET" && origin === here.origin && kept.has(path) ? path : undefined;
}

async function answer(request, path) {
  const cache = await caches.open(name);
  const found = (await cache.match(path)) ?? (await fetch(request));
  if (!found.ok || found.redirected) return found;
  const all = new Headers(found.headers);
  for (const [key, value] of Object.entries(headers)) all.set(key, value);
  return new Response(found.body, { status: found.status, headers: all });
}
