"""Teaching a text encoder what descriptions say, before it is asked what they sound like: `etude.teach_text`."""
