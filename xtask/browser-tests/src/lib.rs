//! Walks through the page in a real Chromium against the real server.
