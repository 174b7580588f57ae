package influx

// Backlog is how many batches wait for a connection or for their next attempt.
func (w *Writer) Backlog() int { return len(w.waiting) }
