"""The check: every invariant of every record, against counts that are made anew by walking all memory."""
