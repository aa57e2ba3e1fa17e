"""The server under the application: uvicorn, with deadlines and limits of Loom's own on every connection."""
