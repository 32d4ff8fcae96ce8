"""Speech with transcripts: NeMo-style manifests, audio of any format at one rate, and sets made from Common Voice."""
