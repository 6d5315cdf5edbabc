// Draws the reference from the service's own OpenAPI document. All paths are relative, so that a proxy may serve the
// service below a path; samples and requests from this page get the address that the browser knows the service by.
(async () => {
  const address = new URL(".", location.href).href.replace(/\/$/, "");
  const answer = await fetch("openapi.json");
  const content = JSON.parse((await answer.text()).replaceAll("http://127.0.0.1:8080", address));
  for (const holder of [content, ...Object.values(content.paths)]) {
    for (const server of holder.servers ?? []) {
      server.url = address + server.url.replace(/\/$/, "");
    }
  }
  Scalar.createApiReference("#reference", {
    content,
    withDefaultFonts: false,
    telemetry: false,
    agent: { disabled: true },
    mcp: { disabled: true },
    externalUrls: {},
    defaultOpenAllTags: true,
    hideModels: true, // the types are shown where they are used
    hideClientButton: true,
    showDeveloperTools: "never",
    hiddenClients: true,
    documentDownloadType: "json",
    orderSchemaPropertiesBy: "preserve",
    customCss: "html, body { overflow-x: clip; }", // an invisible button stands out of a narrow page
  });
})();
