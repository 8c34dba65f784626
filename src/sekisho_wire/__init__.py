"""What crosses between Sekisho's programs: messages, problem codes, signing."""
