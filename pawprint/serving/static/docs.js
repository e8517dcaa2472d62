// Swagger UI, of which nothing may ask another host: not even its validator, for a badge

window.SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", validatorUrl: null });
