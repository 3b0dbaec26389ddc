// All addresses are relative, so that the page also works behind a proxy that puts a path before ours.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  // Ours are long: shown when asked for.
  defaultModelsExpandDepth: 0,
  // It would send this gateway's document to another host.
  validatorUrl: null,
});
