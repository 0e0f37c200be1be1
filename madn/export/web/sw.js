// Gives the page what threads ask of a server's answers (cross-origin isolation), and keeps its files for use offline.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith(self.registration.scope)) return;
  event.respondWith(answer(event.request));
});

async function answer(request) {
  const kept = await caches.open("madn");
  let found;
  try {
    found = await fetch(request);
    if (found.ok) await kept.put(request, found.clone());
  } catch (problem) {
    found = await kept.match(request);
    if (!found) throw problem;
  }
  const headers = new Headers(found.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
