"""Documents: PDF, Word, HTML, Markdown, feeds, mail files, calendars and contacts."""
