"""Result files to what people read: terminal, Markdown, HTML and plots."""
