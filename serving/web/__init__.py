"""One process that serves a bundle over WebSocket, in the transcription part of OpenAI's Realtime protocol, and a page to talk to."""
