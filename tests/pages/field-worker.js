// Service worker, shared worker and dedicated worker in one. A dedicated worker named `outer` starts a nested one.
if ('ServiceWorkerGlobalScope' in self) {
  oninstall = () => skipWaiting();
  onactivate = (event) => event.waitUntil(clients.claim());
  onfetch = (event) => {
    if (new URL(event.request.url).pathname === '/from-the-worker') event.respondWith(new Response('from the worker'));
  };
} else if ('SharedWorkerGlobalScope' in self) {
  onconnect = ({ ports: [port] }) => port.postMessage('here');
} else if (self.name === 'outer') {
  new Worker('field-worker.js', { name: 'inner' }).onmessage = ({ data }) => postMessage(data);
} else {
  postMessage('here');
}
