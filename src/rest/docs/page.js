// All addresses are relative, so the page also works behind a proxy that adds a path.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  // The descriptions are long, so they are shown on demand.
  defaultModelsExpandDepth: 0,
  // It would send this gateway's document to another host.
  validatorUrl: null,
});
