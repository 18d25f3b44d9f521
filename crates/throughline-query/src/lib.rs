//! Jaeger and Tempo APIs, our own JSON, text and SSE endpoints, and the page.
