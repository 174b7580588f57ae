package influx

// Leave stops sending since the server is none of the caller's any more: what waits and what comes is set
// aside at once. What is under way gets its answer, or its timeout, and its connection is closed then. It
// takes Config.Aside; without that nobody would keep the points, and the writer goes on. Return ends it.
func (w *Writer) Leave() {
	if !w.config.Aside || w.left {
		return
	}
	w.left = true
	w.divert()
	if w.remote == nil {
		w.hangUp()
	} // Else the connections are the transport's, which closes those that idle.
}

// Return sends again after a Leave.
func (w *Writer) Return() {
	if !w.left {
		return
	}
	w.left = false
	w.connectAt, w.connectFail = 0, 0
	w.mend()
}
